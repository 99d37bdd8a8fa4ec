"""A day of a company of 500 touchpoints and 40 functions: something happens at each of them.

``python tests/backends/a_large_company.py`` sends its metrics where ``OTEL_*`` says.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cxtrace
from cxtrace import journey, touchpoint

FUNCTIONS = 40
STAGES = 12
PROMISES = 100
TOUCHPOINTS = 500
JOURNEYS = 10

HEAD = 'schema = "cxtrace.map/1"\nname = "large"\n\n[functions]\n'
FUNCTION = """f{0} = {{ contact = "#f{0}", happy = "touchpoint.outcome == 'completed'" }}\n"""
STAGE = '[[stage]]\nname = "s{0}"\nphase = "customer"\n'
PROMISE = """\
[promise.p{0}]
claim = "Promise {0}"
source = "sla"
metric = "touchpoint.success"
op = ">="
target = 1.0
unit = "1"
objective = 0.9{1}5
"""
TOUCHPOINT = """\
[[touchpoint]]
name = "{0}"
stage = "s{1}"
owner = "f{2}"
influence = {{ f{2} = 0.6, f{3} = 0.4 }}
expected_actions = {4}
promises = ["p{5}"]
"""
JOURNEY = '[[journey]]\nname = "j{0}"\n[journey.routes]\nmain = {1}\n'


def touchpoints(number: int) -> list[str]:
    """The touchpoints of a journey, by its number."""
    each = TOUCHPOINTS // JOURNEYS
    return [f"area{place % 20}.touch{place}" for place in range(number * each, (number + 1) * each)]


def large_map() -> str:
    """The map of the company, as TOML."""
    names = [name for number in range(JOURNEYS) for name in touchpoints(number)]
    parts = [HEAD, *(FUNCTION.format(number) for number in range(FUNCTIONS))]
    parts += [STAGE.format(number) for number in range(STAGES)]
    parts += [PROMISE.format(number, number % 10) for number in range(PROMISES)]
    for place, name in enumerate(names):
        owner = place % FUNCTIONS
        other = (owner + 1) % FUNCTIONS
        parts.append(
            TOUCHPOINT.format(name, place % STAGES, owner, other, place % 6, place % PROMISES)
        )
    for number in range(JOURNEYS):
        routes = "[" + ", ".join(f'"{name}"' for name in touchpoints(number)) + "]"
        parts.append(JOURNEY.format(number, routes))
    return "\n".join(parts)


def half_a_day() -> None:
    """Two visits of each touchpoint: one fails, and both are slow; then a hand-off."""
    for number in range(JOURNEYS):
        with journey(f"j{number}"):
            for place, name in enumerate(touchpoints(number)):
                with touchpoint(name) as tp:
                    tp.friction("slow")
                    tp.value(1.0 + place, "EUR", type="revenue")
                    tp.complaint("opened")
                with touchpoint(name) as tp:
                    tp.handoff(f"f{(place + 7) % FUNCTIONS}", waited=60.0 * place)
                    tp.fail("not_there")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.toml")
        path.write_text(large_map(), encoding="utf-8")
        cxtrace.configure(service_name="large", journey_map=path)
    for half in (half_a_day, half_a_day):
        half()
        if not cxtrace.flush(60):
            sys.exit("the metrics were not delivered")
        time.sleep(0.1)  # a store keeps one value of a series for each moment
