"""The promises of a map as service level objectives: for OpenSLO, and for Sloth.

OpenSLO: https://github.com/OpenSLO/OpenSLO, Sloth: https://sloth.dev. Both get one SLO for each
promise and each function that answers for it, as the alerts have one series for each.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.prometheus import EVALUATIONS, MEASURED, label, number
from cxtrace.platform.rules import queries as q
from cxtrace.platform.rules.options import Options
from cxtrace.platform.rules.promises import Watched, watched
from cxtrace.platform.rules.words import NOBODY, Template, contacts_of

_WINDOW: Final = "{{.window}}"
"""Where Sloth puts its windows."""
_LONGEST: Final = 63
"""Of a name in OpenSLO, which is a label of DNS (RFC 1123)."""
_PLAIN: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")


def sloth(journey_map: JourneyMap, options: Options) -> dict[str, Any]:
    """The file that ``sloth generate`` reads."""
    return {
        "version": "prometheus/v1",
        "service": plain_name(journey_map.name),
        "labels": {"cx_map_name": journey_map.name},
        "slos": [
            _sloth_of(promise, owner, journey_map, options)
            for promise in watched(journey_map)
            for owner in promise.owners
        ],
    }


def _sloth_of(
    promise: Watched, owner: str, journey_map: JourneyMap, options: Options
) -> dict[str, Any]:
    bad, total = (
        f"sum(rate({_to_sloth(counter)}[{_WINDOW}]))"
        for counter in counters(promise, owner, options)
    )
    text = Template().text
    return {
        "name": plain_name(promise.promise.id, owner),
        "objective": float(number(promise.objective * 100)),
        "description": promise.promise.claim,
        "labels": _who(promise, owner),
        "sli": {"events": {"error_query": f"({bad}) or ({total}) * 0", "total_query": total}},
        "alerting": {
            "name": "CXPromiseBroken",
            "labels": {"indicator": promise.indicator, **_who(promise, owner)},
            "annotations": {
                "summary": f"“{text(promise.promise.claim)}” is broken too often",
                "owner": text(owner),
                "contact": text(contacts_of([owner], journey_map).get(owner, NOBODY)),
            },
            "page_alert": {"labels": {"severity": "page"}},
            "ticket_alert": {"labels": {"severity": "ticket"}},
        },
    }


def _to_sloth(query: str) -> str:
    """A query in which Sloth finds no template but ours."""
    return query.replace("{{", '{{"{{"}}')


def counters(promise: Watched, owner: str, options: Options) -> tuple[str, str]:
    """What counts where the promise is broken, and what counts all."""
    which = {names.PROMISE_ID: promise.promise.id, names.OWNER_FUNCTION: owner}
    return (
        q.series(EVALUATIONS, {**which, **q.BROKEN}, options.only),
        q.series(EVALUATIONS, which, options.only, [MEASURED]),
    )


def _who(promise: Watched, owner: str) -> dict[str, str]:
    return {label(names.PROMISE_ID): promise.promise.id, label(names.OWNER_FUNCTION): owner}


def openslo(journey_map: JourneyMap, options: Options) -> Iterator[dict[str, Any]]:
    """The documents of OpenSLO: where the data is, the service, and an SLO each."""
    service, source = plain_name(journey_map.name), "cx-prometheus"
    yield _document("DataSource", source, "Prometheus", {"type": "Prometheus"})
    about = f"What customers of {journey_map.name} are promised"
    yield _document("Service", service, journey_map.name, {"description": about})
    for promise in watched(journey_map):
        for owner in promise.owners:
            yield _openslo_of(promise, owner, service, source, options)


def _openslo_of(
    promise: Watched, owner: str, service: str, source: str, options: Options
) -> dict[str, Any]:
    bad, total = (
        {
            "metricSource": {
                "metricSourceRef": source,
                "type": "Prometheus",
                "spec": {"query": f"sum({counter})"},
            }
        }
        for counter in counters(promise, owner, options)
    )
    name, claim = plain_name(promise.promise.id, owner), promise.promise.claim
    ratio = {"counter": True, "bad": bad, "total": total}
    spec = {
        "description": claim,
        "service": service,
        "indicator": {"metadata": {"name": name}, "spec": {"ratioMetric": ratio}},
        "timeWindow": [{"duration": "30d", "isRolling": True}],
        "budgetingMethod": "Occurrences",
        "objectives": [{"displayName": claim, "target": promise.objective}],
    }
    return _document("SLO", name, claim, spec, _who(promise, owner))


def _document(
    kind: str,
    name: str,
    title: str,
    spec: Mapping[str, Any],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "displayName": title}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "openslo/v1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


def plain_name(*parts: str) -> str:
    """Names of a map as one name that both take: ``pay-fast--product``, never the same for two.

    What does not fit, or would be the same as another, ends in a digest.
    """
    whole = "--".join(part.replace("_", "-") for part in parts)
    if len(whole) <= _LONGEST and all(_PLAIN.fullmatch(part) for part in parts):
        return whole
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8]
    kept = re.sub(r"[^a-z0-9]+", "-", whole.lower())[: _LONGEST - 9].strip("-")
    return f"{kept or 'cx'}-{digest}"
