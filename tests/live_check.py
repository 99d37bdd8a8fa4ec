"""Hold recorded telemetry against the registry: ``python tests/live_check.py FILE…``.

The files are OTLP JSON lines, as ``configure(exporter="file:PATH")`` and the Collector's file
exporter write them: spans, metrics and logs in any order. Checked are what the scope ``cxtrace``
made and every ``cx.*`` name elsewhere, since the spans of others are stamped. Findings have the
names of Weaver's ``registry live-check`` where Weaver has them.

Exit status: 0 without a finding, 1 with one, 2 where nothing could be checked.
"""

import argparse
import contextlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

SEMCONV: Final = Path(__file__).parents[1] / "semconv"
SCOPE: Final = "cxtrace"
ERROR: Final = 2
"""OTLP's status code of what failed."""
INTERNAL, SERVER, CONSUMER = 1, 2, 5
INFO, WARN = 9, 13

STAMPED: Final = frozenset(
    {
        *("cx.journey.name", "cx.journey.id", "cx.stage.name", "cx.touchpoint.name"),
        *("cx.owner.function", "enduser.pseudo.id"),
    }
)
"""What stands on every span under a touchpoint, and may stand on every event."""
PERSONAL: Final = re.compile(r"cx\.journey\.id|(enduser|session|user)\..+")
"""What names one customer, journey or session: no label, and not there against a refusal."""
OURS: Final = ("cx.", "cxtrace.sdk.")
"""Beginnings of the names that the registry is about."""
CONSENT: Final = "cx.consent.state"
REFUSED: Final = ("denied", "withdrawn")
CORALOGIX: Final = re.compile(r"cx\.(application|subsystem|agent|otel_integration|cluster)\b")
OF_OPENTELEMETRY: Final = frozenset({"exception"})
"""Events that our spans bear and that are not ours to define."""

SIGNALS: Final = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resourceMetrics", "scopeMetrics", "metrics"),
    ("resourceLogs", "scopeLogs", "logRecords"),
)
VALUES: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "stringValue": ("string", str),
    "boolValue": ("boolean", bool),
    "intValue": ("int", int),
    "doubleValue": ("double", float),
}

Attributes: TypeAlias = Mapping[str, tuple[str, Any]]
"""Of each attribute its kind and its value."""


class Finding(NamedTuple):
    """Something that is not as the registry says."""

    id: str
    signal_type: str
    signal_name: str
    attribute: str
    message: str


class Item(NamedTuple):
    """A span, an event, a data point or a resource, as far as its attributes go.

    ``around`` are the attributes of the span that an event belongs to, where it is known.
    """

    signal_type: str
    name: str
    attributes: Attributes
    around: Attributes = MappingProxyType({})
    failed: bool = False
    attached: bool = False

    def get(self, key: str) -> Any:
        """The value of an attribute, or None."""
        return self.attributes.get(key, (None, None))[1]


# What can be decided of the conditions that the registry tells in words

Condition: TypeAlias = Callable[[Item], "bool | None"]
"""Whether an attribute must be there (True), must not (False), or may (None)."""


def where(key: str, *values: str) -> Condition:
    """Must be there if another attribute is, with one of the values if any are given."""
    return lambda it: (it.get(key) in values if values else key in it.attributes) or None


def exactly_where(key: str, *values: str) -> Condition:
    """Must be there if another attribute is, and must not be there if it is not."""
    return lambda it: where(key, *values)(it) or False


def where_it_failed(it: Item) -> bool | None:
    """Must be there if the touchpoint failed; a server's span has errors of its own."""
    failed: bool = it.get("cx.touchpoint.outcome") == "failed"
    return (failed or None) if it.attached else failed


def in_a_journey(it: Item) -> bool | None:
    """Must be there if the item, or the span around it, belongs to a journey."""
    return "cx.journey.id" in it.attributes or "cx.journey.name" in it.around or None


def where_consent_is_given(it: Item) -> bool | None:
    """Must be there if the span around tells of a consent that allows it."""
    return it.around.get(CONSENT, ("", ""))[1] in {"granted", "not_required"} or None


CONDITIONS: Final[Mapping[tuple[str, str], Condition]] = {
    ("*", "cx.journey.name"): in_a_journey,
    ("*", "cx.customer.key_id"): where("enduser.pseudo.id"),
    ("cx.touchpoint", "cx.touchpoint.outcome"): lambda it: True,
    ("cx.touchpoint", "error.type"): where_it_failed,
    ("cx.touchpoint", "user_agent.synthetic.type"): where("cx.customer.kind", "walkthrough"),
    ("cx.touchpoint", "cx.walkthrough.id"): where("cx.walkthrough.persona"),
    ("cx.touchpoint", "cx.walkthrough.persona"): where("cx.walkthrough.id"),
    ("cx.touchpoint.duration", "error.type"): exactly_where("cx.touchpoint.outcome", "failed"),
    ("cx.journey.start", "cx.journey.id"): where_consent_is_given,
    ("cx.journey.end", "cx.journey.id"): where_consent_is_given,
    ("cx.stage.transition", "cx.journey.id"): where_consent_is_given,
    ("cx.interaction", "error.type"): lambda it: it.failed,
    ("cx.friction", "cx.friction.detector"): exactly_where("cx.friction.source", "rule"),
    ("cx.emotion", "cx.emotion.valence"): lambda it: it.get("cx.emotion.label") is None or None,
    ("cx.nudge.exposure", "feature_flag.key"): where("feature_flag.result.variant"),
    ("cx.nudge.exposure", "feature_flag.result.variant"): where("feature_flag.key"),
    ("cx.feedback", "cx.feedback.score"): where(
        "cx.feedback.type", "nps", "csat", "ces", "csi", "rating"
    ),
    ("cx.value", "cx.value.currency"): exactly_where("cx.value.amount"),
}


class Registry:
    """The published contract, by name."""

    def __init__(self, folder: Path = SEMCONV) -> None:
        def read(file: str, key: str) -> dict[str, dict[str, Any]]:
            content = yaml.safe_load((folder / f"{file}.yaml").read_text(encoding="utf-8"))
            return {item[key]: item for item in content[file]}

        self.attributes = read("attributes", "key")
        self.spans = read("spans", "type")
        self.events = read("events", "name")
        self.metrics = read("metrics", "name")
        self.entities = read("entities", "type")

    def known(self, key: str) -> str | None:
        """The key under which the registry has an attribute: of a template, without its end."""
        each = self.attributes.get(key)
        if each is not None:
            return None if str(each["type"]).startswith("template") else key
        while "." in key:
            key = key.rpartition(".")[0]
            if str(self.attributes.get(key, {}).get("type")).startswith("template"):
                return key
        return None

    def described(self) -> dict[str, str]:
        """What can be seen in telemetry, and of which kind it is."""
        groups = [*self.spans.values(), *self.events.values(), *self.metrics.values()]
        parts = [ref["ref"] for group in groups for ref in group["attributes"]]
        for entity in self.entities.values():
            parts += [ref["ref"] for ref in (*entity["identity"], *entity["description"])]
        return {
            **{key: "attribute" for key in self.attributes if key in parts},
            **dict.fromkeys(self.events, "event"),
            **dict.fromkeys(self.metrics, "metric"),
        }


class LiveCheck:
    """What is found in some telemetry.

    Args:
        registry: The contract.
        opt_in: Labels of metrics that the registry leaves open and somebody asked for.
    """

    def __init__(self, registry: Registry | None = None, opt_in: Collection[str] = ()) -> None:
        self.registry = Registry() if registry is None else registry
        self.opt_in = frozenset(opt_in)
        self.findings: Counter[Finding] = Counter()
        self.first: dict[Finding, str] = {}
        self.checked: Counter[str] = Counter()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.unknown: Counter[tuple[str, str]] = Counter()
        self._around: dict[str, Attributes] = {}
        self._place = ""

    def run(self, messages: Iterable[tuple[str, Any]]) -> "LiveCheck":
        """Check messages of OTLP, each with the place where it was found; None is unreadable."""
        found = []
        for self._place, message in messages:
            with self._reading():
                found += [(self._place, *each) for each in walk(message)]
        # A log event is judged with its span, which may come later or stand in another file.
        for self._place, kind, _, item in found:
            with self._reading():
                if kind == "spans":
                    self._around[item["spanId"]] = pairs(item)
        check = {
            "resource": self._resource,
            "spans": self._span,
            "metrics": self._metric,
            "logRecords": self._log,
        }
        for self._place, kind, ours, item in found:
            with self._reading():
                check[kind](item, ours)
        return self

    def require_all(self, but: Collection[str] = ()) -> "LiveCheck":
        """Find what the registry has and nothing has shown, apart from ``but``."""
        for name, kind in self.registry.described().items():
            if not self.seen[kind, name] and name not in but:
                self._place = ""
                self._add("not_seen", Item(kind, name, {}), "", "It is never emitted.")
        return self

    def statistics(self) -> dict[str, Any]:
        """Numbers, under the names that Weaver gives them."""
        described = self.registry.described()
        counts = {
            f"seen_registry_{each}s": {
                name: self.seen[each, name] for name, kind in described.items() if kind == each
            }
            for each in ("attribute", "event", "metric")
        }
        unknown = {
            f"seen_non_registry_{each}s": {n: c for (k, n), c in self.unknown.items() if k == each}
            for each in ("attribute", "event", "metric")
        }
        covered = sum(1 for name, kind in described.items() if self.seen[kind, name])
        by_type: Counter[str] = Counter()
        for finding, count in self.findings.items():
            by_type[finding.id] += count
        return {
            "total_entities": self.checked.total(),
            "total_entities_by_type": dict(self.checked),
            "total_advisories": self.findings.total(),
            "advice_type_counts": dict(by_type),
            **counts,
            **unknown,
            "registry_coverage": covered / len(described),
        }

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError):
            self._add("unreadable", Item("file", self._place, {}), "", "It is no OTLP in JSON.")

    def _add(self, id_: str, item: Item, attribute: str, message: str) -> None:
        finding = Finding(id_, item.signal_type, item.name, attribute, message)
        self.findings[finding] += 1
        self.first.setdefault(finding, self._place)

    # Signals

    def _resource(self, resource: Mapping[str, Any], ours: bool) -> None:
        item = Item("resource", "resource", pairs(resource))
        if not self._words(item, ours):
            return
        self.checked["resource"] += 1
        refs: dict[str, str] = {}
        for entity in self.registry.entities.values():
            identity = [ref["ref"] for ref in entity["identity"]]
            parts = [*identity, *(ref["ref"] for ref in entity["description"])]
            refs |= dict.fromkeys(parts, "recommended")
            for key in identity:
                if key not in item.attributes and set(parts) & set(item.attributes):
                    message = f"The entity {entity['type']} has no {key}."
                    self._add("entity_required_attribute_not_present", item, key, message)
        self._only(item, refs)

    def _span(self, span: Mapping[str, Any], ours: bool) -> None:
        attributes, name = pairs(span), span.get("name", "")
        item = Item("span", name, attributes)
        words = self._words(item, ours)
        own = {ref["ref"] for ref in self.registry.spans["cx.touchpoint"]["attributes"]} - STAMPED
        attached = not ours and not own.isdisjoint(words)
        if ours or words:
            self.checked["span"] += 1
        if ours or attached:
            type_ = "cx.interaction" if "cx.interaction.name" in attributes else "cx.touchpoint"
            failed = int(span.get("status", {}).get("code", 0)) == ERROR
            item = item._replace(failed=failed, attached=attached)
            self._group(item, type_, self.registry.spans[type_], STAMPED)
            kinds = (SERVER, CONSUMER) if attached else (INTERNAL,)
            if int(span.get("kind", 0)) not in kinds:
                self._add("unexpected_span_kind", item, "", f"A {type_} is of another kind.")
            if ours:
                self._form(item, type_)
        else:
            self._only(item, {}, STAMPED)
        for event in span.get("events", ()):
            known = event.get("name", "")
            inner = Item("span_event", known, pairs(event), attributes)
            if known.startswith(OURS) or (ours and known not in OF_OPENTELEMETRY):
                self._event(inner)
            else:
                self._words(inner, ours)
        for link in span.get("links", ()):
            self._words(Item("span_link", name, pairs(link)), ours)

    def _form(self, item: Item, type_: str) -> None:
        if item.name != item.get(f"{type_}.name"):
            message = f"A span of {type_} is called as {type_}.name says."
            self._add("unexpected_span_name", item, f"{type_}.name", message)
        outcome = item.get("cx.touchpoint.outcome")
        if type_ == "cx.touchpoint" and item.failed != (outcome == "failed"):
            message = "The status is ERROR if and only if the touchpoint failed."
            self._add("unexpected_status", item, "cx.touchpoint.outcome", message)

    def _log(self, record: Mapping[str, Any], ours: bool) -> None:
        name = record.get("eventName", "")
        around = self._around.get(record.get("spanId", ""), {})
        item = Item("log", name, pairs(record), around)
        if not name.startswith(OURS) and not (ours and name):
            self._words(item, ours)
        elif self._event(item):
            bad = self.registry.events[name].get("annotations", {}).get("cx", {}).get("warn_if", {})
            hurts = any(item.get(key) in values for key, values in bad.items())
            wanted = WARN if hurts else INFO
            if int(record.get("severityNumber", 0)) != wanted:
                message = f"The severity number is not {wanted}."
                self._add("unexpected_severity", item, "", message)

    def _event(self, item: Item) -> bool:
        self.checked[item.signal_type] += 1
        self._words(item, ours=True)
        if not self._named("event", item, self.registry.events):
            return False
        self._group(item, item.name, self.registry.events[item.name], STAMPED)
        return True

    def _metric(self, metric: Mapping[str, Any], ours: bool) -> None:
        item = Item("metric", metric.get("name", ""), {})
        instrument, points = points_of(metric)
        for point in points:
            self._nobody(item, point)
        if not ours and not item.name.startswith(OURS):
            return
        self.checked["metric"] += 1
        known = self._named("metric", item, self.registry.metrics)
        for point in points:
            labels = item._replace(attributes=pairs(point))
            self._words(labels, ours=True)
            if known:
                self._group(labels, item.name, self.registry.metrics[item.name], frozenset())
        if known:
            self._instrument(item, metric.get("unit", ""), instrument)

    def _instrument(self, item: Item, unit: str, instrument: str) -> None:
        wanted = self.registry.metrics[item.name]
        if unit != wanted["unit"]:
            message = f"The unit is {unit!r} and should be {wanted['unit']!r}."
            self._add("unit_mismatch", item, "", message)
        if instrument != wanted["instrument"]:
            message = f"The instrument is {instrument or 'none'!r}, not {wanted['instrument']!r}."
            self._add("unexpected_instrument", item, "", message)

    def _nobody(self, item: Item, point: Mapping[str, Any]) -> None:
        exemplars = point.get("exemplars", ())
        told = [pairs(point), *(pairs(each, "filteredAttributes") for each in exemplars)]
        for key in {key for each in told for key in each if PERSONAL.fullmatch(key)}:
            message = f"{key} tells customers apart and is on a metric or an exemplar."
            self._add("personal_label", item, key, message)

    # Attributes

    def _named(self, kind: str, item: Item, registered: Collection[str]) -> bool:
        if item.name in registered:
            self.seen[kind, item.name] += 1
            return True
        self.unknown[kind, item.name] += 1
        self._add(f"missing_{kind}", item, "", f"The registry has no {kind} of this name.")
        return False

    def _words(self, item: Item, ours: bool) -> set[str]:
        """The keys of ours that an item has; whether each is known, and its value fits."""
        found = {key for key in item.attributes if key.startswith(OURS)}
        if not ours:
            found = {key for key in found if not CORALOGIX.match(key)}
        for key in found:
            known = self.registry.known(key)
            if known is None:
                self.unknown["attribute", key] += 1
                message = f"The registry has no attribute {key}."
                self._add("missing_attribute", item, key, message)
            else:
                self.seen["attribute", known] += 1
                self._value(item, key, self.registry.attributes[known]["type"])
        return found

    def _value(self, item: Item, key: str, type_: Any) -> None:
        kind, value = item.attributes[key]
        closed = isinstance(type_, dict)
        wanted = "string" if closed else type_.removeprefix("template[").removesuffix("]")
        if kind != wanted:
            self._add("type_mismatch", item, key, f"{key} is of type {kind}, not {wanted}.")
        elif closed and value not in {member["value"] for member in type_["members"]}:
            message = f"{key} has the value {value!r}, which the registry does not have."
            self._add("undefined_enum_variant", item, key, message)

    def _group(
        self, item: Item, name: str, group: Mapping[str, Any], also: Collection[str]
    ) -> None:
        """Whether an item has what its group asks for, and nothing that it does not have."""
        levels = {ref["ref"]: ref["requirement_level"] for ref in group["attributes"]}
        for key, level in levels.items():
            there = key in item.attributes
            if level == "required" and not there:
                self._add("required_attribute_not_present", item, key, f"{name} needs {key}.")
            elif isinstance(level, dict):
                decide = CONDITIONS.get((name, key), CONDITIONS.get(("*", key)))
                must = decide(item) if decide else None
                why = next(iter(level.values()))
                if must and not there:
                    id_ = "conditionally_required_attribute_not_present"
                    self._add(id_, item, key, f"{name} needs {key}: {why}")
                elif must is False and there:
                    message = f"{name} has {key} against its condition: {why}"
                    self._add("unexpected_attribute", item, key, message)
        self._only(item, levels, also)
        if item.get(CONSENT) in REFUSED or item.around.get(CONSENT, ("", ""))[1] in REFUSED:
            for key in filter(PERSONAL.fullmatch, item.attributes):
                message = f"{name} has {key} although the customer refused."
                self._add("unexpected_attribute", item, key, message)

    def _only(
        self, item: Item, levels: Mapping[str, Any], also: Collection[str] = frozenset()
    ) -> None:
        for key in item.attributes:
            known = self.registry.known(key) or key
            ours, label = key.startswith(OURS), item.signal_type == "metric"
            told_already = ours and known not in self.registry.attributes
            told_already |= label and PERSONAL.fullmatch(key) is not None
            if known in also or told_already or not (ours or label):
                continue
            if known not in levels:
                message = f"{item.name} has no attribute {key}."
                self._add("unexpected_attribute", item, key, message)
            elif label and levels[known] == "opt_in" and key not in self.opt_in:
                message = f"{key} is a label that somebody has to ask for."
                self._add("unexpected_attribute", item, key, message)


# OTLP


def pairs(item: Mapping[str, Any], key: str = "attributes") -> dict[str, tuple[str, Any]]:
    """The attributes of an item, each with its kind."""
    found = {}
    for pair in item.get(key, ()):
        kind, value = next(iter((pair.get("value") or {"empty": None}).items()))
        name, read = VALUES.get(kind, (kind.removesuffix("Value"), lambda given: given))
        found[pair["key"]] = (name, read(value))
    return found


def points_of(metric: Mapping[str, Any]) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """The instrument that made a metric, as far as one can see, and its data points."""
    forms = metric.keys() & {"histogram", "exponentialHistogram", "gauge", "sum", "summary"}
    form = next(iter(forms), "")
    data = metric.get(form, {})
    instrument = "histogram" if form == "exponentialHistogram" else form
    if form == "sum" and data.get("aggregationTemporality"):
        instrument = "counter" if data.get("isMonotonic") else "updowncounter"
    return instrument, data.get("dataPoints", ())


def walk(message: Any) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Of each item of a message the list it stands in, whether it is of our scope, and itself."""
    told = [form for form in SIGNALS if form[0] in message]
    if not told:
        msg = "neither spans nor metrics nor logs"
        raise ValueError(msg)
    for top, middle, leaf in told:
        for outer in message[top]:
            yield "resource", False, outer.get("resource", {})
            for inner in outer.get(middle, ()):
                ours = inner.get("scope", {}).get("name") == SCOPE
                yield from ((leaf, ours, item) for item in inner.get(leaf, ()))


def read(paths: Iterable[str | Path]) -> Iterator[tuple[str, Any]]:
    """The messages of files, each with file and line; None for what is no JSON."""
    for path in map(Path, paths):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield f"{path}:{number}", json.loads(line)
                    except ValueError:
                        yield f"{path}:{number}", None


# For people and for programs


def as_json(check: LiveCheck) -> str:
    """Findings and statistics, in Weaver's words."""
    findings = [
        {
            "id": finding.id,
            "level": "violation",
            "signal_type": finding.signal_type,
            "signal_name": finding.signal_name,
            "context": {"attribute_key": finding.attribute} if finding.attribute else {},
            "message": finding.message,
            "count": count,
            "first": check.first[finding],
        }
        for finding, count in sorted(check.findings.items())
    ]
    return json.dumps({"findings": findings, "statistics": check.statistics()}, indent=2)


def as_text(check: LiveCheck) -> str:
    """A table of the findings, and a line that says what was looked at."""
    rows = [
        (str(count), finding.id, f"{finding.signal_type} {finding.signal_name}", finding.message)
        for finding, count in sorted(check.findings.items())
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            (row[0].rjust(widths[0]), row[1].ljust(widths[1]), row[2].ljust(widths[2]), row[3])
        )
        for row in rows
    ]
    numbers = check.statistics()
    looked_at = ", ".join(
        f"{count} {kind.replace('_', ' ')}s" for kind, count in check.checked.items()
    )
    parts = []
    for each in ("attribute", "event", "metric"):
        counts = numbers[f"seen_registry_{each}s"].values()
        parts.append(f"{sum(map(bool, counts))} of {len(counts)} {each}s")
    told = f"{check.findings.total()} findings" if rows else "No finding"
    coverage = f"{numbers['registry_coverage']:.0%} of the registry seen: {', '.join(parts)}."
    return "\n".join([*table, f"{told} in {looked_at}.", coverage])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="OTLP JSON lines")
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.add_argument(
        "--opt-in", action="append", default=[], metavar="LABEL", help="a label asked for"
    )
    parser.add_argument(
        "--require-all", action="store_true", help="find what the registry has and nobody sent"
    )
    parser.add_argument(
        "--except",
        action="append",
        default=[],
        metavar="NAME",
        dest="but",
        help="with --require-all: this may be missing",
    )
    given = parser.parse_args(arguments)
    check = LiveCheck(opt_in=given.opt_in)
    try:
        check.run(read(given.files))
    except OSError as error:
        print(f"live_check: {error}", file=sys.stderr)
        return 2
    if not check.checked:
        print("live_check: the files hold nothing of cxtrace", file=sys.stderr)
        return 2
    if given.require_all:
        check.require_all(given.but)
    print(as_json(check) if given.json else as_text(check))
    return 1 if check.findings else 0


if __name__ == "__main__":
    sys.exit(main())
