"""Run what a page of the documentation shows: ``python docs/_run_page.py docs/howto/threads.md``.

A page is one program or several, apart by ``<!-- new program -->``, each run in a process and an
empty folder of its own. Its blocks are run from top to bottom:

* ``python``: run, all in one name space. A ``text`` block right below is what it prints.
* any block with ``:caption: NAME``, or a ``literalinclude`` with one: written to the file NAME.
* ``console``: each line after ``$`` is run; the lines below it are what it prints. Commands that
  need a network or a container are not run, nor the demo, which has tests of its own.
* ``toml``: must be TOML, and a right journey map where it says to be one.

Output is compared loosely: in order, but lines may be left out, ``…`` stands for anything, and
durations, identifiers and blanks do not count. What ``cxtrace check`` prints is shown whole, for a
finding more or less is another result; there, a line of ``…`` alone stands for any lines.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = ("docker ", "pip ", "python3 -m venv ", ". ", "cxtrace demo")

_BLOCK = re.compile(
    r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
_NEW_PROGRAM = "<!-- new program -->"
_OPTION = re.compile(r":([a-z-]+):[ ]*(.*)\n")
_VARYING = re.compile(
    r"\b\d+(\.\d+)? ?(ns|µs|us|ms|s)\b"
    r"|\bv1\.[\w…~-]+|\b[0-9a-f]{6}(…|\.\.\.)[0-9a-f]{4}\b|\b[0-9a-f]{16,32}\b"
    r"|\bsha256:(…|[0-9a-f]+)"
)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    argument: str
    body: str
    options: dict[str, str]
    line: int
    program: int
    adjoins: bool
    """Whether nothing stands between this block and the one above."""


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found, end = [], 0
    for match in _BLOCK.finditer(text):
        found.append(_block(text, match, adjoins=not text[end : match.start()].strip()))
        end = match.end()
    return found


def _block(text: str, match: re.Match[str], *, adjoins: bool) -> Block:
    info, body = match["info"].strip(), match["body"]
    directive = re.fullmatch(r"\{(code-block|literalinclude)\}\s+(\S+)", info)
    line = text.count("\n", 0, match.start()) + 2
    options = {}
    while directive and (option := _OPTION.match(body)):
        options[option[1]] = option[2].strip()
        body = body[option.end() :]
        line += 1
    body = body.removeprefix("\n") if options else body
    program = text.count(_NEW_PROGRAM, 0, match.start())
    if directive and directive[1] == "literalinclude":
        return Block("literalinclude", directive[2], body, options, line, program, adjoins)
    language = directive[2] if directive else info
    return Block(language, "", body, options, line, program, adjoins)


def programs(page: Path) -> list[int]:
    """The programs of a page that have something to run."""
    runnable = ("python", "console", "toml")
    return sorted({block.program for block in blocks(page) if block.language in runnable})


class Runner:
    """Runs the blocks of one program."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed: str | None = None

    def run(self, block: Block) -> None:
        """Run one block, or raise."""
        printed, self.printed = self.printed, None
        if "caption" in block.options:
            self.write(block)
        elif block.language == "python":
            self.printed = self.python(block)
        elif block.language == "text" and block.adjoins and printed is not None:
            compare(block.body, printed, self.where(block))
        elif block.language == "console":
            self.console(block)
        elif block.language == "toml":
            check_toml(block.body)

    def where(self, block: Block) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{block.line}"

    def write(self, block: Block) -> None:
        """Write the file that the block shows."""
        text = block.body
        if block.language == "literalinclude":
            text = (self.page.parent / block.argument).read_text(encoding="utf-8")
        target = Path(block.options["caption"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def python(self, block: Block) -> str:
        """Run code in the name space of the page and return what it printed."""
        code = compile("\n" * (block.line - 1) + block.body, str(self.page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            exec(code, self.names)  # noqa: S102  it is our own documentation
            if "cxtrace._config" in sys.modules:
                sys.modules["cxtrace"].flush()
        return without_fault(printed.getvalue(), self.where(block))

    def console(self, block: Block) -> None:
        """Run the commands of a console block and compare what they print."""
        for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
            command, _, expected = part.replace("\\\n", " ").partition("\n")
            if not command.startswith(NOT_RUN):
                printed, where = run_command(command, self.where(block)), self.where(block)
                compare(expected, printed, where, whole=command.startswith("cxtrace check "))


def run_command(command: str, where: str) -> str:
    """Run ``cxtrace …`` or ``python …`` and return what it printed."""
    words = shlex.split(command, comments=True)
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}  # as in a terminal, where no line waits
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environ[name] = value
    target = words.pop() if len(words) > 2 and words[-2] == ">" else None
    if target:
        words.pop()
    starts = {
        "python": [sys.executable],
        "cxtrace": [sys.executable, "-c", "import sys, cxtrace.cli as c; sys.exit(c.main())"],
    }
    if words[0] not in starts:
        raise AssertionError(f"{where}: no way to run {command!r}")
    done = subprocess.run(  # noqa: S603
        [*starts[words[0]], *words[1:]],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    findings = words[0] == "cxtrace" and done.returncode == 1 and "Traceback" not in done.stdout
    if done.returncode and not findings:
        raise AssertionError(f"{where}: {command!r} gave {done.returncode}\n{done.stdout}")
    if target:
        Path(target).write_text(done.stdout, encoding="utf-8")
        return ""
    return without_fault(done.stdout, where)


def without_fault(printed: str, where: str) -> str:
    """What was printed, or an error if cxtrace had to swallow one of its own."""
    if "cxtrace swallowed" in printed:
        raise AssertionError(f"{where}: {printed}")
    return printed


def compare(expected: str, actual: str, where: str, *, whole: bool = False) -> None:
    """Raise unless the lines that are expected come by in order, and as a whole no others."""
    lines = _plain(actual)
    left_out = not whole
    for wanted in _plain(expected):
        if whole and wanted == "…":
            left_out = True
            continue
        pattern = re.compile(".*".join(map(re.escape, re.split(r"…|\.\.\.", wanted))))
        near = lines if left_out else lines[:1]
        found = next((n for n, line in enumerate(near) if pattern.fullmatch(line)), None)
        if found is None:
            raise AssertionError(f"{where}: the page shows\n    {wanted}\nbut it is\n{actual}")
        del lines[: found + 1]
        left_out = not whole
    if lines and not left_out:
        raise AssertionError(f"{where}: the page does not show\n    {lines[0]}\nof\n{actual}")


def _plain(text: str) -> list[str]:
    lines = (" ".join(_VARYING.sub("<varies>", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


def check_toml(text: str) -> None:
    """Raise unless the text is TOML, and a right map where it says to be one."""
    from cxtrace import JourneyMap
    from cxtrace._project import tomllib

    if "schema" in tomllib.loads(text) and "\nname" in text:
        JourneyMap.loads(text)


def main(page: Path, program: int | None = None) -> None:
    """Run a page, or one program of it, each program in a process of its own."""
    page = page.resolve()
    if program is None:
        for number in programs(page):
            call = [sys.executable, __file__, str(page), str(number)]
            subprocess.run(call, env=environment(), check=True)  # noqa: S603
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples", Path(folder, "examples"))
        os.chdir(folder)
        sys.path.insert(0, folder)
        runner = Runner(page)
        for block in blocks(page):
            if block.program == program:
                runner.run(block)
        os.chdir(ROOT)


def environment() -> dict[str, str]:
    """The environment without settings of the machine that change what is printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
