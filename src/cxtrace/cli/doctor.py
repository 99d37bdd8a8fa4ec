"""Examine the wiring: what is at work, what is wrong, and whether a probe arrives.

Without --app, a process of its own is configured as a service would be that is started here, by
environment, pyproject.toml and journey map. With it, the application is imported, which has to call
configure() itself. Then a probe touchpoint is sent, and with --query it is read back. No secret is
printed. Exits with 1 if there is an error.
"""

import argparse
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from attrs import evolve

from cxtrace._tree import printable
from cxtrace.cli import _drawing, address, print_no_more, refuse
from cxtrace.cli.map import NARROWEST, WIDEST, glyphs
from cxtrace.platform.doctor.subject import Finding, plural
from cxtrace.platform.doctor.visit import Diagnosis, Question, visit

EXAMPLE: Final = """\
  cxtrace doctor                                  a service started here
  cxtrace doctor --app shop.main:app              an application
  cxtrace doctor --query http://localhost:16686   find the probe in Jaeger
  cxtrace doctor --no-probe --json                nothing is sent, and JSON"""

_LONGEST: Final = 600.0
_COLOURS: Final = {"error": "31", "warning": "33", "note": "36", "good": "32", "bold": "1"}
_HANG: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument(
        "--app",
        metavar="MODULE:ATTR",
        help="import this, as shop.main:app, shop.main:create_app() or shop.main, and examine it",
    )
    parser.add_argument(
        "--query",
        metavar="URL",
        type=address,
        help="read the probe back from the Jaeger, Tempo or VictoriaTraces at this address",
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=_seconds,
        default=10.0,
        help="seconds for the probe to be delivered and found; by default 10",
    )
    parser.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="send nothing, and ask nobody over the network",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 for a warning too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and {_LONGEST:.0f}")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Examine, print what is found, and give the exit code."""
    wrong = _wrong_use(arguments)
    if wrong:
        return refuse("doctor", wrong)
    found = visit(Question(arguments.app, arguments.query, arguments.timeout, arguments.probe))
    if arguments.json:
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
    else:
        text = "\n".join(_lines(found, paper_of()))
    try:
        print(text, flush=True)
    except BrokenPipeError:  # what was found is so, even if nobody reads it
        print_no_more()
    failing = ("error", "warning") if arguments.strict else ("error",)
    return int(any(found.count(level) for level in failing))


def _wrong_use(arguments: argparse.Namespace) -> str:
    if arguments.query is not None and not arguments.probe:
        return "--query reads a probe back, and --no-probe sends none; leave one of them"
    if arguments.app is not None and not arguments.app.partition(":")[0].strip():
        return "--app must name a module, as shop.main or shop.main:app"
    return ""


def paper_of() -> _drawing.Paper:
    """What standard output can show."""
    width = shutil.get_terminal_size((100, 24)).columns
    plain = _drawing.paper(max(NARROWEST, min(WIDEST, width)), glyphs(sys.stdout.encoding))
    shows = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    shows = shows and os.environ.get("TERM") != "dumb"
    return evolve(plain, colours=_COLOURS) if shows else plain


def _lines(found: Diagnosis, on: _drawing.Paper) -> Iterator[str]:
    worst = next((each.level for each in found.findings if each.level != "note"), "good")
    yield on.paint(on.paint(found.verdict, worst), "bold")
    for finding in found.findings:
        yield ""
        yield from _told(finding, on)
    if found.wiring is not None:
        yield from ("", on.paint("At work", "bold"), *_wiring(found.wiring, on))
    elif found.findings:
        yield from ("", "Not configured, for the reason above.")
    if found.probe is not None:
        yield from ("", on.paint("Probe", "bold"), *_probe(found.probe))


def _told(finding: Finding, on: _drawing.Paper) -> Iterator[str]:
    yield f"{on.paint(finding.level, finding.level)} [{finding.id}]"
    for line in finding.found.splitlines():
        yield from wrapped(line, " " * _HANG, on)
    yield from wrapped(finding.advice, f"{on.glyphs.arrow:>{_HANG - 1}} ", on)


def wrapped(text: str, first: str, on: _drawing.Paper) -> list[str]:
    """A text as lines, the later ones as far to the right as ``first`` is long."""
    return textwrap.wrap(
        printable(text),
        on.width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _wiring(wiring: dict[str, Any], on: _drawing.Paper) -> Iterator[str]:
    """One line for each part, and below a provider one for each processor, in order."""
    for signal in ("traces", "metrics", "logs"):
        provider = wiring[signal]
        yield _row(signal, _ORIGINS[provider["origin"]].format(_short(provider["name"])))
        for each in provider["processors"]:
            yield _row("", f"  {_part(each)}{_sends(each['exporter'], on)}")
    sampler, process = wiring["sampler"], wiring["process"]
    yield _row("propagators", ", ".join(_short(each["name"]) for each in wiring["propagators"]))
    yield _row("sampler", "not known" if sampler is None else _part(sampler))
    yield _row("journey map", wiring["journey_map"] or "none")
    key = wiring["key"]
    yield _row("key", key["state"] + (f" {key['key_id']}" if key["state"] == "given" else ""))
    yield _row("service", wiring["service_name"] or "not known")
    yield from _spool(wiring["spool"])
    yield _row("versions", ", ".join(" ".join(pair) for pair in process["versions"].items()))


def _spool(spool: dict[str, Any] | None) -> Iterator[str]:
    """One line for each signal of which something waits."""
    if spool is None:
        yield _row("spool", "none")
        return
    waiting = {name: each for name, each in spool["signals"].items() if each["items"]}
    if not waiting:
        is_left = spool["owner"] is not None
        says = f"of user {spool['owner']}, left alone" if is_left else "nothing waits"
        yield _row("spool", f"{spool['folder']}  {says}")
    for number, (name, each) in enumerate(waiting.items()):
        words = (
            plural(each["items"], _ITEMS[name]),
            f"{_size(each['bytes'])} of {_size(spool['max_bytes'])}",
            f"oldest {_age(each['oldest'])}",
        )
        yield _row("" if number else "spool", f"{spool['folder']}  {', '.join(words)}")


def _size(count: int) -> str:
    unit, name = next((each for each in _SIZES if count >= each[0]), _SIZES[-1])
    return f"{count / unit:.0f} {name}"


def _age(seconds: float) -> str:
    unit, name = next((each for each in _AGES if seconds >= 2 * each[0]), _AGES[-1])
    return f"{seconds / unit:.0f} {name}"


_ITEMS: Final = {"spans": "span", "logs": "log record"}
_SIZES: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes"))
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_ORIGINS: Final = {
    "built": "{}, built by cxtrace",
    "joined": "{} of others, joined",
    "apart": "{} of others, which takes no processors",
    "others": "{} of others",
    "none": "nobody takes them",
}


def _row(name: str, text: str) -> str:
    return f"{'':{_HANG}}{name:13}{printable(text)}".rstrip()


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _part(part: dict[str, Any]) -> str:
    return f"{_short(part['name'])} ({part['owner']})"


def _sends(exporter: dict[str, Any] | None, on: _drawing.Paper) -> str:
    if exporter is None:
        return ""
    words = [_part(exporter), exporter["protocol"], exporter["endpoint"]]
    return f" {on.glyphs.arrow} {' '.join(word for word in words if word)}"


def _balance(ledger: dict[str, Any]) -> str:
    """What became of everything, but for what is nothing."""
    counts = {**ledger, **ledger["dropped"]}
    del counts["dropped"]
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def _probe(probe: dict[str, Any]) -> Iterator[str]:
    yield _row("trace", probe["trace_id"])
    yield _row("journey", probe["journey_id"])
    yield _row("sent", _sent(probe))
    for signal, ledger in probe["ledgers"].items():
        yield _row(signal, _balance(ledger))
    yield from _replayed(probe["ledgers"])
    if probe["backend"] is None:
        yield _row("read back", _not_read(probe))
        return
    if probe["read_seconds"] is None:
        yield _row("read back", f"not found in {probe['backend']}")
        return
    yield _row("read back", f"from {probe['backend']}, after {probe['read_seconds']:.2f} s")
    yield _row("tags", f"{len(probe['arrived'])} of 6 arrived: {', '.join(probe['arrived'])}")


def _sent(probe: dict[str, Any]) -> str:
    if not probe["is_taken"]:
        return "nobody to send it to"
    seconds = f"after {probe['sent_seconds']:.2f} s"
    if probe["is_delivered"]:
        return f"delivered, {seconds}"
    if probe["is_on_disk"]:
        return f"on disk, {seconds}, and sent when the receiver answers"
    return f"not all delivered, {seconds}"


def _replayed(ledgers: dict[str, Any]) -> Iterator[str]:
    """What other processes had left in the spool."""
    for signal, word in _ITEMS.items():
        ledger = ledgers.get(signal)
        count = min(ledger["recovered"], ledger["exported"]) if ledger else 0
        if count:
            waited = f"{plural(count, word)} that waited on disk"
            yield _row("", f"{waited} {'was' if count == 1 else 'were'} sent on the way")


def _not_read(probe: dict[str, Any]) -> str:
    if not probe["is_asked_for"]:
        return "not asked for; --query URL does it"
    if not probe["is_sampled"]:
        return "not looked for: the sampler dropped it"
    return "could not be asked: see above"
