"""Where code and journey map say different things."""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

from cxtrace._code_names import Defined
from cxtrace._code_scan import Scan, Use
from cxtrace._map.lint import Finding
from cxtrace._map.text import choices, guess
from cxtrace.exceptions import Problem
from cxtrace.journey_map import JourneyMap


def compare(journey_map: JourneyMap, scan: Scan) -> list[Finding]:
    """Everything that code and map do not agree on: first by place in the code, then in the map."""
    known: Mapping[str, Collection[str]] = {
        "touchpoint": journey_map.touchpoints,
        "journey": journey_map.journeys,
        "interaction": set(chain(*(t.interactions for t in journey_map.touchpoints.values()))),
    }
    in_code = [_unreadable(*file) for file in scan.unreadable]
    in_code += [_undisclosed(use) for use in scan.uses if use.kind == "nudge"]
    planned = [use for use in scan.uses if use.kind != "nudge"]
    for use in planned:
        in_code += _names(use, known[use.kind])
        in_code += _arguments(use, journey_map)
    in_code += _disagreements(planned)
    in_code.sort(key=lambda finding: (finding.problem.file, finding.problem.line))
    return [*in_code, *_not_emitted(journey_map, planned), *_matches(journey_map, scan)]


def _finding(use: Use, rule: str, message: str) -> Finding:
    key = f"{use.kind}[{use.name}]"
    return Finding(rule, "error", Problem(use.file, use.line, key, message))


def _unreadable(file: str, line: int, reason: str) -> Finding:
    message = f"the file cannot be read as Python: {reason}"
    return Finding("unreadable-code", "error", Problem(file, line, "", message))


def _undisclosed(use: Use) -> Finding:
    message = "the customer is not told about this nudge"
    if use.arguments["disclosed"] != "False":
        message = "whether the customer is told about this nudge is known only when the code runs"
    key = f"nudge[{use.name}]" if use.name else "nudge"
    return Finding("undisclosed-nudge", "note", Problem(use.file, use.line, key, message))


def _names(use: Use, known: Collection[str]) -> Iterator[Finding]:
    if use.name is None:
        message = "not checked: the name is known only when the code runs"
        yield Finding("not-checked", "note", Problem(use.file, use.line, use.kind, message))
    elif use.name not in known:
        message = f'the map has no {use.kind} "{use.name}"{_advice(use.name, known)}'
        yield _finding(use, f"unknown-{use.kind}", message)


def _arguments(use: Use, journey_map: JourneyMap) -> Iterator[Finding]:
    planned = journey_map.touchpoints.get(use.name or "") if use.kind == "touchpoint" else None
    if planned is None:
        return
    place = journey_map.places[("touchpoint", planned.name)]
    allowed = {"stage": (planned.stage,), "owner": (planned.owner,), "channel": planned.channels}
    for argument, text in use.arguments.items():
        if allowed[argument] and text not in allowed[argument]:
            says = " or ".join(f'"{value}"' for value in allowed[argument])
            message = f'{argument} is "{text}" here, but {says} in the map ({place})'
            yield _finding(use, f"different-{argument}", f"{message}; leave it to the map")


def _disagreements(uses: Collection[Use]) -> Iterator[Finding]:
    """Stage and owner must be the same everywhere; a touchpoint may well have many channels."""
    first: dict[tuple[str, str], Use] = {}
    for use in uses:
        for argument in () if use.name is None else use.arguments.keys() - {"channel"}:
            other = first.setdefault((f"{use.kind} {use.name}", argument), use)
            ours, theirs = use.arguments[argument], other.arguments[argument]
            if ours != theirs:
                where = f"{other.file}:{other.line}"
                message = f'{argument} is "{ours}" here, but "{theirs}" at {where}'
                yield _finding(use, "two-definitions", f"{message}; make both the same")


def _not_emitted(journey_map: JourneyMap, uses: Collection[Use]) -> Iterator[Finding]:
    emitted = {use.name for use in uses if use.kind == "touchpoint"}
    for name, touchpoint in journey_map.touchpoints.items():
        if name not in emitted and not touchpoint.match:
            place = journey_map.places[("touchpoint", name)]
            message = "planned, but no code emits it; decorate the code, or add match to the map"
            key = f"touchpoint[{name}]"
            yield Finding("not-emitted", "error", Problem(place.file, place.line, key, message))


def _matches(journey_map: JourneyMap, scan: Scan) -> Iterator[Finding]:
    """Functions that the map names; a module that is not among the code is not judged."""
    for name, touchpoint in journey_map.touchpoints.items():
        place = journey_map.places[("touchpoint", name)]
        for target in (match.function for match in touchpoint.match if match.function):
            for rule, message in _match(name, target, scan):
                key = f"touchpoint[{name}].match"
                yield Finding(rule, "error", Problem(place.file, place.line, key, message))


def _match(name: str, target: str, scan: Scan) -> Iterator[tuple[str, str]]:
    module, _, path = target.partition(":")
    known = scan.modules.get(module)
    if known is None:
        if _should_be_there(module, scan):
            others = [other for other in scan.modules if "." in other]
            yield "match-not-found", f'the code has no module "{module}"{_advice(module, others)}'
        return
    found = known.find(path)
    if found is None:
        message = f'{known.file} has no "{path}"{_advice(path, [*known.functions()])}'
        yield "match-not-found", message
    elif found.kind == "class":
        yield "match-not-found", f'"{target}" is a class; name a function or a method'
    else:
        yield from _counted_twice(name, found, scan)


def _should_be_there(module: str, scan: Scan) -> bool:
    """Whether its package is among the code, and has no such module in another language."""
    package, _, name = module.rpartition(".")
    known = scan.modules.get(package)
    if known is None or Path(known.file).name != "__init__.py" or known.is_open:
        return False
    return all(entry.name.partition(".")[0] != name for entry in Path(known.file).parent.iterdir())


def _advice(wrong: str, known: Collection[str]) -> str:
    near = guess(wrong, known)
    return f'; did you mean "{near}"?' if near else choices(sorted(known))


def _counted_twice(name: str, found: Defined, scan: Scan) -> Iterator[tuple[str, str]]:
    for use in scan.uses:
        is_this = use.kind == "touchpoint" and use.name == name
        if is_this and use.file == found.file and use.line in found.decorators:
            message = f"{use.file}:{use.line} makes this touchpoint of the function already"
            yield "match-twice", f"{message}; remove the decorator or the match"
