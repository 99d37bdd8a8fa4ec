"""``python -m benchmarks.large_map``: the commands with a map of 500 touchpoints, and the shop's.

The seconds are those of a whole process, the best of three; the ratio says what the size costs.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cxtrace import attributes as names
from cxtrace.exporters import RecordedSpan
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.series import worst_case
from tests.backends.a_large_company import large_map
from tests.living import visit, write_spans

SHOP: Final = Path(__file__).parents[1] / "examples" / "journeys.toml"
ROUNDS: Final = 3
SPANS: Final = 20_000

COMMANDS: Final[tuple[tuple[str, ...], ...]] = (
    ("check", "--series", "MAP"),
    ("map", "MAP"),
    ("map", "--format", "mermaid", "MAP"),
    ("map", "--live", "SPANS", "--format", "html", "-o", "OUT/map.html", "MAP"),
    ("map", "--live", "SPANS", "--format", "text", "MAP"),
    ("view", "SPANS", "-o", "OUT/view.html"),
    ("collector", "MAP", "-o", "OUT"),
    ("rules", "MAP", "-o", "OUT"),
    ("dashboards", "MAP", "-o", "OUT"),
    ("jaeger", "MAP", "--service", "shop", "-o", "OUT"),
    ("link", "stage", "purchase", "--jaeger", "http://localhost:16686", "--service", "shop"),
)


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        large = folder / "large.toml"
        large.write_text(large_map(), encoding="utf-8")
        for command in COMMANDS:
            shop, big = (_best(command, path, folder) for path in (SHOP, large))
            words = " ".join(command)
            print(f"{words:70} {shop:6.2f} s {big:6.2f} s  ratio {big / shop:5.2f}", flush=True)
        found = worst_case(JourneyMap.load(large))
        print(f"series at worst: {sum(series.count for series in found):,}")
        for path in sorted(folder.rglob("*.html")):
            print(f"{path.name}: {path.stat().st_size:,} bytes for {path.parent.name}")


def _best(command: Sequence[str], journey_map: Path, folder: Path) -> float:
    """The fewest seconds of a few runs."""
    spans = folder / f"{journey_map.stem}.jsonl"
    if not spans.exists():
        write_spans(spans, _visits(JourneyMap.load(journey_map)))
    places = {"MAP": str(journey_map), "SPANS": str(spans), "OUT": str(folder / journey_map.stem)}
    Path(places["OUT"]).mkdir(exist_ok=True)
    words = [places.get(word, word.replace("OUT/", places["OUT"] + "/")) for word in command]
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        program = "import sys; from cxtrace.cli import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
        )
        taken.append(time.perf_counter() - began)
        if done.returncode > 1 or "Traceback" in done.stderr:
            sys.exit(f"{' '.join(words)}: {done.stderr}")
    return min(taken)


def _visits(journey_map: JourneyMap) -> Iterator[RecordedSpan]:
    touchpoints = list(journey_map.touchpoints.values())
    for number in range(SPANS):
        place = touchpoints[number % len(touchpoints)]
        yield visit(
            number,
            **{
                names.TOUCHPOINT_NAME: place.name,
                names.STAGE_NAME: place.stage,
                names.OWNER_FUNCTION: place.owner,
                names.JOURNEY_ID: f"j{number // 10}",
            },
        )


if __name__ == "__main__":
    main()
