"""A guessed journey map as TOML, every guess marked for the person who edits it."""

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from cxtrace._map.schema import SCHEMA
from cxtrace._map.text import literal
from cxtrace.platform.scaffold.draft import Draft, Step, Way
from cxtrace.platform.scaffold.words import PHASES, Guess

_SHOWN: Final = 100
"""Characters of a line that is made of several things."""


def write(draft: Draft) -> str:
    """The text of the map."""
    return "\n".join([*_head(draft), *_stages(draft), *_steps(draft), *_foot(draft)]) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    targets = " ".join(_plain(app.target) for app in draft.applications)
    yield f"# A first journey map, made by: cxtrace scaffold {targets}"
    yield "# Each line with `guess` was guessed from words in the code. Change it, or take the mark"
    yield "# away where it is right. Touchpoints that are one to customers can share one match."
    yield ""
    yield f"schema = {literal(SCHEMA)}"
    yield f"name = {literal(draft.name)}"
    yield ""
    kinds = {app.kind for app in draft.applications}
    user = "pk" if "Django" in kinds else "id"
    rules = f'{{ session = "customer_id" }}, {{ user = "{user}" }}'
    yield "# Who the customer is, and which journey this is, cannot be guessed. Such as:"
    yield "# [request]"
    yield f'# customer = [{rules}, {{ cookie = "visitor", kind = "anonymous" }}]'
    yield '# journey  = [{ header = "X-Journey-Id" }, { cookie = "visitor" }]'
    yield ""
    yield "[functions]  # guess: who these are in your company; add contact to each"
    for owner in draft.owners:
        yield f"{owner} = {{}}"


def _stages(draft: Draft) -> Iterator[str]:
    for stage in draft.stages:
        yield from (
            "",
            "[[stage]]",
            f"name = {literal(stage)}",
            f"phase = {literal(PHASES[stage])}",
        )


def _steps(draft: Draft) -> Iterator[str]:
    for stage, steps in groupby(draft.steps, key=lambda step: step.stage.value):
        yield ""
        yield f"# {stage}"
        for step in steps:
            yield ""
            yield from _step(step)


def _step(step: Step) -> Iterator[str]:
    if step.by_system:
        yield "# guess: another system calls this, and no customer; if so, remove it"
    yield "[[touchpoint]]"
    yield f"name = {literal(step.name)}  # guess: from {_source(step)}"
    yield f"stage = {literal(step.stage.value)}  # guess: {_why(step.stage)}"
    yield f"owner = {literal(step.owner.value)}  # guess: {_why(step.owner)}"
    yield f"influence = {{ {step.owner.value} = 1.0 }}  # guess: the owner alone"
    matches = [literal({step.found.kind: target}) for target in step.targets]
    yield from _array("match", matches) if matches[1:] else [f"match = {matches[0]}"]


def _source(step: Step) -> str:
    hint = _plain(step.found.hint)
    of_path = "the path" if step.found.kind == "route" else "the name of the task"
    return f"{of_path} and {hint}" if hint and hint != step.targets[0] else of_path


def _why(guess: Guess) -> str:
    return f"the word {guess.word}" if guess.word else "no word tells, so the usual one"


def _array(key: str, items: list[str]) -> list[str]:
    line = f"{key} = [{', '.join(items)}]"
    if len(line) <= _SHOWN or len(items) == 1:
        return [line]
    return [f"{key} = [", *(f"  {item}," for item in items), "]"]


def _foot(draft: Draft) -> Iterator[str]:
    for way in draft.journeys:
        yield from _way(way)
    if draft.left_out:
        yield ""
        yield "# Left out, with the reason; cxtrace scaffold --all takes in what no customer meets:"
    for reason, paths in draft.reasons().items():
        yield f"# {reason} ({len(paths)})"
        for path, methods in paths.items():
            called = f"{', '.join(methods)} {path}"
            yield f"#   {_plain(called.strip())}"


def _way(way: Way) -> Iterator[str]:
    yield ""
    yield "[[journey]]"
    yield f"name = {literal(way.name)}  # guess"
    yield f"goal = {literal(way.goal)}  # guess: the last step at which a customer does something"
    yield "[journey.routes]"
    yield "# guess: all touchpoints of these stages; keep the steps that a customer goes, and put"
    yield "# them into the customer's order: inside a stage, it is that of words and routes"
    yield from _array("guessed", [literal(step) for step in way.steps])


def _plain(text: str) -> str:
    """Text that can stand in a comment."""
    return literal(text)[1:-1]
