"""Explain everything that this service sends: what it means, where it goes, when, and what for.

Without --app, a process of its own is configured as a service would be that is started here, by
environment, pyproject.toml and journey map. With it, the application is imported, which has to call
configure() itself. Nothing is sent. No secret is printed. Exits with 1 if nothing can be explained.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from cxtrace._tree import printable
from cxtrace.cli import _drawing, print_no_more, refuse
from cxtrace.cli.doctor import paper_of, wrapped
from cxtrace.platform.doctor.visit import answer
from cxtrace.platform.explain import record
from cxtrace.platform.explain.explanation import (
    LIMITS,
    NEVER,
    Absent,
    Entry,
    Explanation,
    Use,
    explain,
)
from cxtrace.platform.explain.live import Live
from cxtrace.platform.explain.registry import CLASSES
from cxtrace.platform.explain.rules import CONSENTS

EXAMPLE: Final = """\
  cxtrace explain                         what a service started here would send
  cxtrace explain --app shop.main:app     what an application sends
  cxtrace explain --personal              only what is about a person
  cxtrace explain --record > record.md    a record of processing, to fill in
  cxtrace explain --json                  everything, as JSON"""

_HANG: Final = "    "
_COLUMN: Final = 13
_HEADINGS: Final = {
    "personal": "What says something about a person by itself",
    "attribute": "Attributes that say nothing about a person by themselves",
    "event": "Events that say nothing about a person by themselves",
    "metric": "Metrics that say nothing about a person by themselves",
    "frame": "What stands around them",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument(
        "--app",
        metavar="MODULE:ATTR",
        help="import this, as shop.main:app, shop.main:create_app() or shop.main, and explain it",
    )
    parser.add_argument(
        "--personal", action="store_true", help="leave out what says nothing about a person"
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="print a record of processing activities (GDPR Art. 30) in Markdown; with --json, as"
        " JSON",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Explain, and give the exit code."""
    app = arguments.app
    if app is not None and not app.partition(":")[0].strip():
        return refuse("explain", "--app must name a module, as shop.main or shop.main:app")
    said = answer("cxtrace.platform.explain.patient", {"app": app, "is_silent": True})
    if said is None:
        return refuse(
            "explain", f"{app or 'a service that is configured as here'} did not come up", 1
        )
    if "trouble" in said:
        what = f"{app}: " if app else ""
        return refuse("explain", f"{what}{said['trouble']}", 1)
    live = Live.from_dict(said["live"])
    if live.state == "not_configured":
        return refuse("explain", f"{app} did not call cxtrace.configure() when it was imported", 1)
    found = explain(live)
    try:
        print(_text(found, arguments), flush=True)
    except BrokenPipeError:
        print_no_more()
    return 0


def _text(found: Explanation, arguments: argparse.Namespace) -> str:
    if arguments.json:
        plain: dict[str, Any] = record.to_dict(found) if arguments.record else found.to_dict()
        return json.dumps(plain, indent=2, ensure_ascii=False)
    if arguments.record:
        return "\n".join(record.markdown(found))
    return "\n".join(lines(found, paper_of(), is_short=arguments.personal))


def lines(found: Explanation, on: _drawing.Paper, *, is_short: bool) -> Iterator[str]:
    """The explanation as people read it; a short one has only what is about a person."""
    live = found.live
    personal = [each for each in found.sent if each.pii_class != "none"]
    counts = f"{len(found.sent)} things, of which {len(personal)} say something about a person"
    yield on.paint(f"{printable(live.service or 'This service')} can send {counts}", "bold")
    yield from ("", on.paint("Where it goes", "bold"), *_places(live, on))
    yield from ("", on.paint("How it is set", "bold"), *_settings(live, on))
    yield from ("", on.paint("How long it is kept", "bold"), *_kept(found, on))
    yield from _listed(_HEADINGS["personal"], personal, on)
    if not is_short:
        for what, heading in _HEADINGS.items():
            entries = [each for each in found.sent if (each.what, each.pii_class) == (what, "none")]
            yield from _listed(heading, entries, on)
        yield from _absent(found.not_sent, on)
    yield from ("", on.paint("Never sent, whatever is set", "bold"), *_bullets(NEVER, on))
    yield from ("", on.paint("What cannot be said from here", "bold"), *_bullets(LIMITS, on))


def _row(name: str, text: str, on: _drawing.Paper) -> list[str]:
    return wrapped(text, f"{_HANG}{name:{_COLUMN}}", on)


def _places(live: Live, on: _drawing.Paper) -> Iterator[str]:
    for number, each in enumerate(live.destinations, 1):
        place = f" {on.glyphs.arrow} {each.endpoint}" if each.endpoint else ""
        words = [f"{each.name} ({each.owner}){place}", record.ENCRYPTED[each.encryption]]
        if each.headers:
            words.append(f"with headers {', '.join(each.headers)}")
        if each.scrub is not None:
            words.append("scrubbed")
        if each.is_spooled:
            words.append(f"and {live.settings['spool']} on disk while nobody takes it")
        yield from _row(f"{number} {each.signal}", ", ".join(words), on)
    if not live.destinations:
        off = "OpenTelemetry is switched off" if live.state == "disabled" else ""
        yield from _row("nowhere", off or "no exporter takes spans, metrics or log records", on)
    if "CXPropagator" in live.propagators:
        yield from _row("baggage", f"to {record.hosts(live).replace('`', '')}", on)


def _settings(live: Live, on: _drawing.Paper) -> Iterator[str]:
    yield from _row("consent", record.consent_of(live).replace("`", ""), on)
    yield from _row("pseudonyms", record.pseudonyms_of(live).replace("`", ""), on)
    yield from _row("key", record.key_of(live).replace("`", ""), on)
    yield from _row("sampler", (live.sampler or "not known").replace(",", ", "), on)
    known = live.journey_map
    yield from _row("journey map", f"{known.name} {known.version}" if known else "none", on)
    yield from _row("events", " and ".join(_events(live)) or "nowhere", on)
    exceptions = live.settings.get("record_exceptions")
    yield from _row(
        "exceptions", f"class, and {exceptions} text and stack" if exceptions else "class", on
    )
    yield from _row("signals off", ", ".join(live.settings["signals_off"]) or "none", on)


def _events(live: Live) -> Iterator[str]:
    if live.has_span_events:
        yield "on spans"
    if live.has_log_events:
        yield "as log records"


def _kept(found: Explanation, on: _drawing.Paper) -> Iterator[str]:
    return _bullets(record.limits(found.live), on)


def _listed(heading: str, entries: Iterable[Entry], on: _drawing.Paper) -> Iterator[str]:
    for number, each in enumerate(entries):
        if not number:
            yield from ("", on.paint(heading, "bold"))
        yield ""
        yield from _told(each, on)


def _told(each: Entry, on: _drawing.Paper) -> Iterator[str]:
    pii = "" if each.pii_class == "none" else f"  [{CLASSES[each.pii_class]}]"
    yield f"{_HANG}{on.paint(each.name, 'bold')}{pii}"
    yield from wrapped(each.meaning.replace("`", ""), _HANG * 2, on)
    if each.keys:
        yield from _detail("keys", ", ".join(each.keys), on)
    for condition, places in _by_condition(each.uses).items():
        yield from _detail("on", f"{', '.join(places)}{condition and f', {condition}'}", on)
    if each.attributes:
        yield from _detail("has", ", ".join(each.attributes), on)
    if each.condition:
        yield from _detail("sent", each.condition, on)
    if each.consent != CONSENTS:
        states = ", ".join(each.consent).replace("_", " ")
        yield from _detail("consent", f"only {states}", on)
    yield from _detail("goes to", ", ".join(each.goes_to), on)
    yield from _detail("why", each.purpose, on)


def _by_condition(uses: Iterable[Use]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for use in uses:
        found.setdefault(use.condition.replace("`", ""), []).append(use.name)
    return found


def _detail(name: str, text: str, on: _drawing.Paper) -> list[str]:
    return wrapped(text, f"{_HANG * 2}{name:9}", on)


def _absent(every: Iterable[Absent], on: _drawing.Paper) -> Iterator[str]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for each in every:
        lacks = f" (on {', '.join(each.lacks)})" if each.lacks else ""
        by_reason.setdefault((each.why, each.change), []).append(f"{each.name}{lacks}")
    for number, ((why, change), names) in enumerate(by_reason.items()):
        if not number:
            yield from ("", on.paint("Not sent, as it is set", "bold"))
        yield ""
        yield from wrapped(", ".join(names), _HANG, on)
        yield from wrapped(why.replace("`", ""), _HANG * 2, on)
        yield from wrapped(change.replace("`", ""), f"{_HANG}  {on.glyphs.arrow} ", on)


def _bullets(texts: Iterable[str], on: _drawing.Paper) -> Iterator[str]:
    for text in texts:
        yield from wrapped(text.replace("`", ""), f"{_HANG}{on.glyphs.dot} ", on)
