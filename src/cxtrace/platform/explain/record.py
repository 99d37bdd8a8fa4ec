"""A record of processing activities, as Article 30(1) of the GDPR asks for, of one service.

What the configuration shows is filled in; what only people know is marked. Not legal advice.

Source: Regulation (EU) 2016/679, Article 30, https://eur-lex.europa.eu/eli/reg/2016/679/oj.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from cxtrace.platform.explain.explanation import LIMITS, NEVER, Entry, Explanation
from cxtrace.platform.explain.live import Destination, Live
from cxtrace.platform.explain.registry import CLASSES

TO_FILL: Final = "TO BE FILLED IN"
DISCLAIMER: Final = (
    "Made by `cxtrace explain --record` from the configuration in force. Not legal advice: have it "
    "read by whoever answers for data protection, and fill in what is marked."
)

_CATEGORIES: Final = {
    "free_text": "Texts of exceptions, which can hold what a customer typed",
    "linkable": "Pseudonymous identifiers and times",
    "sensitive_inference": "What is inferred about feelings and contentment",
    "profiling": "Forecasts about a person",
    "quasi_identifier": "Details that may single a person out together with others",
    "commercial": "Amounts of money",
    "none": "Details about touchpoints and the service, which are about a person where they stand "
    "with a pseudonym on the same span",
}

_TIMES: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))

ENCRYPTED: Final = {
    "tls": "encrypted (TLS)",
    "none": "NOT ENCRYPTED",
    "loopback": "not encrypted, within this machine",
    "disk": "a file on this machine",
    "terminal": "the terminal of the process",
    "unknown": "not known whether encrypted",
}
"""How a destination is reached, in words."""


@frozen
class Section:
    """A part of the record.

    Attributes:
        article: Of the GDPR, such as ``30(1)(b)``.
        title: What the article asks for.
        known: What the configuration says.
        to_fill: What people have to add.
    """

    article: str
    title: str
    known: tuple[str, ...] = ()
    to_fill: tuple[str, ...] = ()


def record(found: Explanation) -> tuple[Section, ...]:
    """The record, in the order of the article."""
    live = found.live
    return (
        Section("", "Processing", tuple(_processing(live)), ("Legal basis of each purpose",)),
        Section(
            "30(1)(a)",
            "Controller",
            (),
            (
                "Name and contact of the controller, and of a joint controller",
                "Representative, if there is one",
                "Data protection officer",
                "For whom you process, if for somebody else: each controller (Art. 30(2))",
            ),
        ),
        Section("30(1)(b)", "Purposes", tuple(_purposes(found)), ("Purposes of your own",)),
        Section(
            "30(1)(c)",
            "Categories of data subjects",
            ("Customers: persons, accounts or households, as the code says (`cx.customer.kind`)",),
            ("Others, such as staff who act for customers", "Whether children are among them"),
        ),
        Section("30(1)(c)", "Categories of personal data", tuple(_categories(found))),
        Section(
            "30(1)(d)",
            "Recipients",
            tuple(_recipients(live)),
            ("Who runs each recipient, and who reads there", "Contracts with processors (Art. 28)"),
        ),
        Section(
            "30(1)(e)",
            "Transfers to third countries",
            (),
            ("Country of each recipient", "Safeguards (Art. 46), if it is a third country"),
        ),
        Section(
            "30(1)(f)",
            "Time limits for erasure",
            tuple(limits(live)),
            ("Retention of each backend", "When keys are destroyed"),
        ),
        Section(
            "30(1)(g)",
            "Technical and organisational measures",
            tuple(_measures(found)),
            (
                "Where the key is kept, apart from what is sent, and who has it",
                "Access control of each backend",
                "Organisational measures",
            ),
        ),
    )


def to_dict(found: Explanation) -> dict[str, Any]:
    """The record as JSON has it."""
    sections = [
        {
            "article": each.article,
            "title": each.title,
            "known": list(each.known),
            "to_be_filled_in": list(each.to_fill),
        }
        for each in record(found)
    ]
    return {"disclaimer": DISCLAIMER, "record": sections, "cannot_be_said": list(LIMITS)}


def markdown(found: Explanation) -> Iterator[str]:
    """The record as lines of Markdown."""
    yield f"# Record of processing activities: {found.live.service or TO_FILL}"
    yield ""
    yield f"> {DISCLAIMER}"
    for section in record(found):
        article = f" (Art. {section.article})" if section.article else ""
        yield from ("", f"## {section.title}{article}", "")
        yield from (f"- {text}" for text in section.known)
        yield from (f"- **[{TO_FILL}]** {text}:" for text in section.to_fill)
    yield from ("", "## What this record cannot say", "")
    yield from (f"- {text}" for text in LIMITS)


def _processing(live: Live) -> Iterator[str]:
    yield f"Observation of the customers' experience in the service `{live.service or 'unknown'}`."
    if live.journey_map is not None:
        yield f"By the journey map `{live.journey_map.name}`, version `{live.journey_map.version}`."


def _purposes(found: Explanation) -> list[str]:
    by_purpose: dict[str, list[str]] = {}
    for each in found.entries("attribute", "frame"):
        if each.pii_class != "none":
            by_purpose.setdefault(each.purpose, []).append(f"`{each.name}`")
    return [f"{purpose} {', '.join(names)}." for purpose, names in by_purpose.items()]


def _categories(found: Explanation) -> Iterator[str]:
    by_class: dict[str, list[Entry]] = {}
    for each in found.entries("attribute", "frame"):
        by_class.setdefault(each.pii_class, []).append(each)
    for pii_class, entries in by_class.items():
        names = ", ".join(f"`{each.name}`" for each in entries)
        yield f"{_CATEGORIES[pii_class]} (class: {CLASSES[pii_class]}): {names}."


def _recipients(live: Live) -> Iterator[str]:
    for each in live.destinations:
        yield f"{each.signal.capitalize()}: {place_of(each)}; {ENCRYPTED[each.encryption]}."
    if not live.destinations:
        yield "No exporter that is known here takes anything."
    if "CXPropagator" in live.propagators:
        yield f"Services that are called: {hosts(live)}."
    if live.joins_requests:
        yield "Everybody who is called gets the trace id and the span id (`traceparent`)."
    observer = live.settings.get("on_friction")
    if observer:
        yield f"The function `{observer}` of the application is told of frictions, without names."


def place_of(destination: Destination) -> str:
    """Where a destination is, in words."""
    endpoint = destination.endpoint
    what = f"`{destination.name}` of {destination.owner}"
    scrubbed = "" if destination.scrub is None else ", scrubbed"
    return f"{what}, at `{endpoint}`{scrubbed}" if endpoint else f"{what}{scrubbed}"


def hosts(live: Live) -> str:
    """Where baggage goes, in words."""
    trusted: list[str] = live.settings.get("trusted_hosts", [])
    named = f", and {', '.join(f'`{host}`' for host in trusted)}" if trusted else ""
    own = "this machine, private addresses, single-label names, .internal, .local, .svc"
    return f"hosts of your own ({own}), brokers{named}"


def limits(live: Live) -> Iterator[str]:
    """How long what is sent is kept here, in sentences."""
    if any(each.is_spooled for each in live.destinations):
        folder, age = live.settings["spool"], live.settings["spool_max_age"]
        yield f"On disk in `{folder}`, while nobody takes it: {lasts(age)} at most."
    files = dict.fromkeys(e.endpoint for e in live.destinations if e.encryption == "disk")
    for file in files:
        yield f"`{file}`: until somebody deletes the file."
    if live.settings.get("pseudonymiser") in {"SaltedPseudonymiser", "VaultPseudonymiser"}:
        yield "In the store of the pseudonymiser: until code calls `forget()`."
    yield "In memory: until it is sent, or the process ends."
    yield "Signed baggage is believed for five minutes."


def lasts(seconds: float) -> str:
    """A time in words."""
    unit, word = next((each for each in _TIMES if seconds >= each[0]), (1, "second"))
    count = f"{seconds / unit:g}"
    return f"{count} {word}{'' if count == '1' else 's'}"


def _measures(found: Explanation) -> Iterator[str]:
    live = found.live
    yield f"{pseudonyms_of(live)} {key_of(live)}"
    yield f"Consent. {consent_of(live)}"
    yield (
        "Minimisation: attributes are those of a fixed list, and context keys of the journey map. "
        f"Never sent: {' '.join(NEVER)}"
    )
    off: list[str] = live.settings.get("signals_off", [])
    if off:
        yield f"Switched off: {', '.join(off)}."
    for each in live.destinations:
        yield f"Transport of {each.signal} to {place_of(each)}: {ENCRYPTED[each.encryption]}."
    if any(each.scrub is not None for each in live.destinations):
        yield "Of spans, only what is on an allow-list leaves (`scrub`), where a recipient says so."
    if any(each.is_spooled for each in live.destinations):
        yield "What waits on disk is readable by the user of the service alone, and not encrypted."
    trust = _TRUST[live.settings["trust_inbound"]]
    yield f"What other services say of a customer is believed: {trust}"


_TRUST: Final[Mapping[str, str]] = {
    "signed": "only with a signature of the key.",
    "always": "ALWAYS, whoever says it (`trust_inbound = always`).",
    "never": "never.",
}


_PSEUDONYMS: Final[Mapping[str, str]] = {
    "HmacPseudonymiser": "by a keyed hash (HMAC-SHA-256).",
    "SaltedPseudonymiser": "by a keyed hash (HMAC-SHA-256) with a salt for each customer, which a "
    "store keeps and can forget.",
    "VaultPseudonymiser": "by a random id for each customer, which a store keeps and can forget.",
}


def pseudonyms_of(live: Live) -> str:
    """How pseudonyms are made, in a sentence."""
    kind = live.settings.get("pseudonymiser") or "HmacPseudonymiser"
    return f"Pseudonymisation {_PSEUDONYMS.get(kind, f'by `{kind}` of the application.')}"


def key_of(live: Live) -> str:
    """What is known of the keys, in sentences."""
    if live.key == "given":
        older = ", ".join(f"`{each}`" for each in live.older_keys)
        believed = f" What was made with {older} is believed too." if older else ""
        return f"The key `{live.key_id}` was given, and is not sent.{believed}"
    return (
        "No key was given: each process draws its own at random, so pseudonyms last as long as the "
        "process, and services do not believe each other."
    )


def consent_of(live: Live) -> str:
    """How consent works here, in sentences."""
    unknown = "is refused" if live.settings.get("consent_required") else "is not refused"
    return (
        "Denied or withdrawn, what links one visit to another is removed, and emotion, feedback, "
        f"value and forecasts are not recorded. Consent that is unknown {unknown} "
        f"(`consent_required = {str(bool(live.settings.get('consent_required'))).lower()}`)."
    )
