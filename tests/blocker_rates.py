"""How often the blockers miss a value of somebody, and how often they take another for one.

``python tests/blocker_rates.py`` prints the two tables of ``docs/explanation/blockers.md``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cxtrace._blockers import is_personal

CORPUS = Path(__file__).parent / "corpus"


class Sample(NamedTuple):
    """One line of a corpus."""

    kind: str
    value: str
    is_known_to_fail: bool

    @property
    def is_found(self) -> bool:
        """Whether the blockers take it for somebody's."""
        return is_personal(self.value) is not None


def samples(name: str) -> Iterator[Sample]:
    """The values of a corpus."""
    for line in (CORPUS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, _, value = line.partition(" ")
            yield Sample(kind.lstrip("?"), value, kind.startswith("?"))


def table(name: str, found: str, wrong: str) -> Iterator[str]:
    """Numbers and shares by kind, as Markdown."""
    every = list(samples(name))
    yield f"| {found} | Values | {wrong} | Share |"
    yield "|---|---|---|---|"
    kinds = list(dict.fromkeys(sample.kind for sample in every))
    for kind in [*kinds, ""]:
        mine = [sample for sample in every if kind in ("", sample.kind)]
        failed = sum(sample.is_found is (name == "harmless") for sample in mine)
        share = f"{failed / len(mine):.1%}".replace("%", " %")
        yield f"| {f'`{kind}`' if kind else 'all'} | {len(mine)} | {failed} | {share} |"


def tables() -> tuple[str, str]:
    """What is missed among values of people, and what is blocked among harmless ones."""
    return (
        "\n".join(table("personal", "Kind", "Missed")),
        "\n".join(table("harmless", "Class", "Blocked")),
    )


if __name__ == "__main__":
    print("\n\n".join(tables()))
