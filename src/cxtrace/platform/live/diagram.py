"""The living map as a Mermaid diagram, with what each score was made of."""

from collections.abc import Iterator

from cxtrace.platform import mermaid
from cxtrace.platform.live.measured import LiveMap
from cxtrace.platform.live.words import number, percent, weakest


def diagram(live: LiveMap, journey: str | None = None) -> str:
    """The map, or one of its journeys, with scores from what was measured.

    The score goes from 1 to 5 with the weaker of two shares: visits that neither failed nor were
    abandoned, and promises kept. Without a visit it is 3. Comments say which numbers stand behind.

    Raises:
        KeyError: The map has no such journey.
    """
    shares = {name: weakest(live, name) for name in live.touchpoints}
    scores = {name: 1 + 4 * share for name, share in shares.items() if share is not None}
    drawn = (
        mermaid.map_diagram(live.plan, scores)
        if journey is None
        else mermaid.journey_diagram(live.plan, journey, scores)
    )
    return drawn + "".join(f"    %% {line}\n" for line in _parts(live))


def _parts(live: LiveMap) -> Iterator[str]:
    yield mermaid.plain_text(f"measured: {live.source}")
    for name, figures in live.touchpoints.items():
        if figures.visits:
            made = live.plan.promises_at(name)
            kept = [f"{each.id} kept {percent(live.promises[each.id].share)}" for each in made]
            hurt = f"{percent(figures.hurt)} failed or abandoned of {number(figures.visits)} visits"
            yield mermaid.plain_text("  ".join([name, hurt, *kept]))
