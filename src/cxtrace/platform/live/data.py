"""The living map as data, for other programs."""

from typing import Any

import attrs

from cxtrace.platform.live.measured import Figures, Kept, LiveMap, Verdicts


def data(live: LiveMap) -> dict[str, Any]:
    """Everything that was measured, with plain keys; shares and times as they were computed."""
    return {
        "map": {"name": live.plan.name, "version": live.plan.version},
        "source": live.source,
        "notes": list(live.notes),
        "all": _figures(live.all),
        "stages": {name: _figures(each) for name, each in live.stages.items()},
        "owners": {name: _figures(each) for name, each in live.owners.items()},
        "touchpoints": {
            name: {
                **_figures(each),
                "verdicts": _verdicts(live.verdicts_at.get(name, {})),
                "trace_id": live.traces.get(name),
            }
            for name, each in live.touchpoints.items()
        },
        "promises": {name: _kept(each) for name, each in live.promises.items()},
        "journeys": {name: attrs.asdict(each) for name, each in live.journeys.items()},
        "handoffs": [attrs.asdict(each) for each in live.handoffs],
        "verdicts": {stage: _verdicts(each) for stage, each in live.verdicts.items()},
        "verdicts_despite_broken_promises": _verdicts(live.despite),
        "unplanned": dict(live.unplanned),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    value = [
        {"type": kind, "currency": currency, "amount": amount}
        for (kind, currency), amount in figures.value.items()
    ]
    return {**attrs.asdict(figures), "hurt": figures.hurt, "value": value}


def _kept(kept: Kept) -> dict[str, Any]:
    return {**attrs.asdict(kept), "share": kept.share, "is_short": kept.is_short}


def _verdicts(verdicts: Any) -> dict[str, Any]:
    found: dict[str, Verdicts] = dict(verdicts)
    return {name: {**attrs.asdict(each), "share": each.share} for name, each in found.items()}
