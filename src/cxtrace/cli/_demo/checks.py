"""What the demo looks for in what was recorded, and what must not be in it."""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan
from cxtrace.cli._demo.facts import SERVICES, Check, Walk, of_journey, services_of
from cxtrace.privacy import HmacPseudonymiser

_PERSONAL: Final = ("id", "email", "address", "card", "letter")


def check_walks(walks: Sequence[Walk]) -> Check:
    """Whether everyone went through the shop as scripted."""
    failed = [f"{walk.person['name']}: {walk.error}" for walk in walks if walk.error]
    return Check(
        f"{len(walks)} customers went their ways as scripted",
        bool(walks) and not failed,
        "; ".join(failed),
    )


def check_spans(
    walks: Sequence[Walk],
    spans: Sequence[RecordedSpan],
    raw: bytes,
    pseudonymiser: HmacPseudonymiser,
) -> list[Check]:
    """What the spans must hold, and what the bytes must not in which they were recorded."""
    return [
        _check_services(walks, spans),
        _check_tags(spans),
        _check_login(walks, spans, pseudonymiser),
        _check_privacy(walks, raw),
    ]


def _check_services(walks: Sequence[Walk], spans: Sequence[RecordedSpan]) -> Check:
    met = {walk.id: services_of(of_journey(spans, walk)) for walk in walks}
    short = [f"{id_}: {met[id_]}" for id_ in met if met[id_] != list(SERVICES)]
    return Check(
        "each journey is found by its id, with spans of all three services",
        not short,
        "; ".join(short),
    )


def _check_tags(spans: Sequence[RecordedSpan]) -> Check:
    stock = [span for span in spans if span.kind in {"SERVER", "CLIENT"}]
    short = Counter(
        f"{span.service_name} {span.name} has no {tag}"
        for span in stock
        for tag in names.TAGS
        if tag not in span.attributes
    )
    return Check(
        f"all {len(stock)} SQL, HTTP client and server spans carry the six tags",
        bool(stock) and not short,
        "; ".join(short),
    )


def _check_login(
    walks: Sequence[Walk], spans: Sequence[RecordedSpan], pseudonymiser: HmacPseudonymiser
) -> Check:
    customer_of = {walk.id: pseudonymiser.pseudonym(walk.person["id"]) for walk in walks}
    roots = [
        span.attributes
        for span in spans
        if span.parent_id is None
        and span.attributes.get(names.TOUCHPOINT_NAME) == "account.login"
        and span.attributes.get(names.TOUCHPOINT_OUTCOME) == "completed"
    ]
    wrong = [
        str(root.get(names.JOURNEY_ID))
        for root in roots
        if root.get(names.CUSTOMER_PSEUDONYM, "") != customer_of.get(root.get(names.JOURNEY_ID, ""))
    ]
    return Check(
        "a visitor who logged in halfway is a customer on the request's root span",
        bool(roots) and not wrong,
        ", ".join(wrong),
    )


def _check_privacy(walks: Sequence[Walk], raw: bytes) -> Check:
    secret = [w.person[key] for w in walks for key in _PERSONAL]
    seen = [text for text in secret if text and any(form in raw for form in _forms(text))]
    return Check(
        f"no customer's id, e-mail, address or card is in the {len(raw):,} bytes recorded",
        bool(raw) and not seen,
        f"{len(seen)} of them are",
    )


def _forms(text: str) -> Iterator[bytes]:
    """A text as it may be written."""
    plain = text.encode()
    yield from (plain, quote(text, safe="").encode(), plain.hex().encode())
    # In base64 it depends on the bytes before it; the first and last characters on its neighbours.
    for before, spoilt in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(plain)) // 3 * 3 - before
        yield base64.b64encode(b"\0" * before + plain[:whole])[spoilt:]
