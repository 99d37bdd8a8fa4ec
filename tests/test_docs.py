"""The documentation: what it shows runs, what it lists is complete, and it builds in silence."""

import importlib.util
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import cxtrace
from cxtrace._settings import Settings
from cxtrace.cli import COMMANDS
from cxtrace.cli.check import RULES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
SOURCE = Path(cxtrace.__file__).parent

if not DOCS.is_dir():
    pytest.skip("the documentation is not part of what is tested here", allow_module_level=True)

PAGES = [README, *sorted(DOCS.rglob("*.md"))]


def load(path: Path) -> ModuleType:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_page = load(DOCS / "_run_page.py")


def named(page: Path) -> str:
    """A page as people write it."""
    return page.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    """A page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def programs() -> list[Any]:
    """Every program of every page."""
    return [
        pytest.param(page, program, id=f"{named(page)}-{program}")
        for page in PAGES
        for program in run_page.programs(page)
    ]


def copyable() -> list[Any]:
    """Every piece of Python that a reader may copy."""
    return [
        pytest.param(page, block.line, id=f"{named(page)}-{block.line}")
        for page in PAGES
        for block in run_page.blocks(page)
        if block.language == "python" and "caption" not in block.options
    ]


@pytest.mark.parametrize(("page", "line"), copyable())
def test_a_snippet_stands_alone(tmp_path: Path, page: Path, line: int) -> None:
    """A snippet needs no other of its page, but for the files that the page has shown."""
    shown = [block for block in run_page.blocks(page) if block.line <= line]
    for block in shown:
        if "caption" in block.options and block.language != "literalinclude":
            file = tmp_path / block.options["caption"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.body, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-c", shown[-1].body],
        cwd=tmp_path,
        env=run_page.environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def run(page: Path, program: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run one program of a page in a process of its own."""
    return subprocess.run(
        [sys.executable, str(DOCS / "_run_page.py"), str(page), str(program)],
        env=run_page.environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(("page", "program"), programs())
def test_what_a_page_shows_runs_and_prints_what_it_says(page: Path, program: int) -> None:
    """Every snippet, file and command of a page runs, in order, in an empty folder."""
    done = run(page, program)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "```python\nraise ValueError\n```\n",
        "```python\nprint('one')\n```\n\n```text\ntwo\n```\n",
        "```console\n$ cxtrace nonsense\n```\n",
        "```console\n$ cxtrace --help\nno such line\n```\n",
        "```console\n$ rm something\n```\n",
        "```toml\nname = \n```\n",
        '```toml\nschema = "cxtrace.map/1"\nname = "a"\nx = 1\n```\n',
    ],
)
def test_a_page_that_is_wrong_is_found(tmp_path: Path, text: str) -> None:
    """The runner fails where code, output, command or map of a page is wrong."""
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")

    assert run(page).returncode != 0


def test_output_is_compared_loosely() -> None:
    """Durations, identifiers and blanks do not count, and lines may be left out."""
    run_page.compare(
        "shop trace 0af7651916cd43dd8448eb211c80319c\n✓ cart.view  1.2 ms … completed\n",
        "a line\nshop   trace b7ad6b71692033310000000000000000\n✓ cart.view 7 µs  web  completed\n",
        "here",
    )


@pytest.mark.parametrize(
    "shown", ["one\nthree\n", "one\ntwo\n", "two\nthree\n", "one\n…\nfour\n", "one\n…\ntwo\n", ""]
)
def test_the_findings_of_a_check_are_shown_whole(shown: str) -> None:
    """A finding too few on a page is found, unless the page says that it leaves some out."""
    printed = "one\ntwo\nthree\n"
    for right in (printed, "one\n…\nthree\n", "…\n", "one\n…\n", "…\nthree\n"):
        run_page.compare(right, printed, "here", whole=True)

    with pytest.raises(AssertionError, match="here: the page"):
        run_page.compare(shown, printed, "here", whole=True)


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    """Sphinx has nothing to complain about: no dead link, no page that is left out."""
    for package in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(package, reason=f"{package}, of the docs group, is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-d"]

    done = subprocess.run(
        [*command, str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 0, done.stderr
    attributes = (tmp_path / "html" / "reference" / "attributes.html").read_text(encoding="utf-8")
    assert "cx.touchpoint.outcome" in attributes
    assert "cx.emotion.valence" in attributes


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    """Links to files and to headings exist, on GitHub as well as in the HTML."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        assert not anchor or anchor in headings(linked), target


def headings(page: Path) -> set[str]:
    """The anchors of a page, by GitHub's rule."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


def test_the_readme_gives_one_command_to_try_and_one_to_test() -> None:
    """Each section has one console block of one line, and the page stays short."""
    text = README.read_text(encoding="utf-8")

    def commands(heading: str) -> list[str]:
        section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        (block,) = re.findall(r"^```console\n(.*?)^```$", section, re.M | re.S)
        return block.splitlines()

    assert commands("Try it") == [
        "python3 -m venv .venv && .venv/bin/pip install -q '.[demo]' && .venv/bin/cxtrace demo"
    ]
    assert commands("Test it") == [
        "python3 -m venv .venv-test && .venv-test/bin/pip install -q nox && .venv-test/bin/nox"
    ]
    assert len(text.splitlines()) <= 110


def test_every_command_that_is_named_exists() -> None:
    """A page that says ``cxtrace NAME`` names a command that is there."""
    for page in PAGES:
        named_commands = re.findall(r"[`/ ]cxtrace ([a-z]+)\b", code_of(page))
        assert set(named_commands) <= set(COMMANDS), named(page)


def code_of(page: Path) -> str:
    """The code spans and console blocks of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)
    return "\n".join([*re.findall(r"(`[^`\n]+`)", text), *(f" {block}" for block in blocks)])


def test_every_public_name_is_in_the_reference() -> None:
    """All that ``cxtrace`` exports is described."""
    text = read("reference/api.md")

    missing = [n for n in cxtrace.__all__ if not re.search(rf"(:: |\.){n}\b", text)]

    assert missing in ([], ["CXTraceError", "ConfigurationError", "MapError"])
    assert "automodule:: cxtrace.exceptions" in text


def test_every_setting_is_described() -> None:
    """The settings page is made of configure()'s docstring, which leaves none out."""
    arguments = set(inspect.signature(cxtrace.configure).parameters)
    described = re.findall(r"^    (\w+): ", inspect.getdoc(cxtrace.configure) or "", re.M)

    assert {field.name for field in attrs.fields(Settings)} == arguments
    assert arguments <= set(described)


def test_every_variable_that_is_named_exists() -> None:
    """A page that says CXTRACE_SOMETHING names a setting."""
    arguments = {name.upper() for name in inspect.signature(cxtrace.configure).parameters}
    known = arguments - {"JOURNEY_MAP"} | {"MAP", "KEY_FILE"}
    for page in PAGES:
        used = set(re.findall(r"\bCXTRACE_([A-Z_]+)\b", page.read_text(encoding="utf-8")))
        assert used <= known, named(page)


def test_every_counter_is_described() -> None:
    """The page about report() has every counter that the code counts."""
    files = [path for path in SOURCE.rglob("*.py") if path.parent.name != "cli"]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    counted = {c for c in re.findall(r"_guard\.count\(\s*f?\"([^\"]+)\"", code) if "{" not in c}
    counted |= {f"baggage.{why}" for why in re.findall(r"\b_refuse\(\"(\w+)\"", code)}
    baggage = (SOURCE / "_baggage.py").read_text(encoding="utf-8").partition("def fault")[2]
    counted |= {f"baggage.{why}" for why in re.findall(r"(?:return|else) \"(\w+)\"", baggage)}
    counted |= {f"refused.{what}" for what in re.findall(r"\brefuse\(\"(\w+)\"", code)}
    counted |= {f"refused.{w}_name" for w in re.findall(r"checked_name\([^()]+, \"(\w+)\"\)", code)}

    described = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", read("reference/report.md")))

    assert counted - described == set()
    assert len(counted) > 20


def test_every_rule_of_check_is_described() -> None:
    """The page about the check has every rule that it can print."""
    text = read("howto/check.md")

    assert {rule for rule in RULES if f"`{rule}`" not in text} == set()


def test_the_tags_that_are_listed_are_those_that_are_stamped() -> None:
    """The list of the reference is what a span of others gets, no more and no less."""
    pytest.importorskip("sphinx", reason="sphinx, of the docs group, is not installed")
    reference = load(DOCS / "_ext" / "cx_reference.py")
    code = """
        import cxtrace
        from opentelemetry import trace
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        sent = InMemorySpanExporter()
        cxtrace.configure(exporter=sent, journey_map="examples/journeys.toml")
        with cxtrace.journey("first_order", route="guest"), cxtrace.customer("a", segment="smb"):
            with cxtrace.touchpoint("invoice.download") as tp:
                tp.set({"cx.context.weather": "rain", "cx.quality.taste": 1, "session.id": "s1"})
                with trace.get_tracer("db").start_as_current_span("SELECT"):
                    pass
                tp.fail("unavailable")
        cxtrace.flush()
        for span in sent.get_finished_spans():
            print(*span.attributes)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=run_page.environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    stranger, touchpoint = (set(line.split()) for line in done.stdout.splitlines())
    assert stranger == set(reference.STAMPED)
    listed = reference.sent_names()
    assert {key for key in touchpoint if key not in listed} == {
        "cx.context.weather",
        "cx.function.happy.it",
        "cx.function.happy.product",
        "cx.function.happy.service",
        "cx.owner.influence.finance",
        "cx.owner.influence.it",
        "cx.quality.taste",
    }
    assert {"cx.context", "cx.owner.influence", "cx.quality"} <= listed
