"""Runs a target: with atheris where it is installed, else by blind mutation of the seeds."""

import random
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

LONGEST: Final = 16_384
"""Bytes of an input: twice the longest header that is read."""

PATIENCE: Final = 10
"""Seconds for one input; a decoder that takes longer has failed."""

_WORDS: Final = (
    *(b"cx.sig=", b"cx.", b"enduser.", b"%00", b"%2C", b"%", b",", b";", b"=", b"\r\n", b"\xff"),
    *(b"~", b":", b"--", b"[", b"{", b'"""', b"9" * 5_000, b"1e999", b"\xed\xa0\x80", b"\0"),
)


@define
class Tally:
    """What has been seen so far.

    Attributes:
        runs: Inputs that were tried.
        slowest: Seconds that the slowest one took.
        input: The slowest one.
    """

    file: Path
    runs: int = 0
    slowest: float = 0.0
    input: bytes = b""
    began: float = 0.0

    def watched(self, run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """The same, but counted and timed; what is counted is written down as it goes."""
        self.began = time.monotonic()

        def watched(data: bytes) -> None:
            begin = time.process_time()
            run(data)
            took = time.process_time() - begin
            self.runs += 1
            if took > self.slowest:
                self.slowest, self.input = took, data
            if self.runs % 100 == 0:
                self.write()

        return watched

    def write(self) -> None:
        """Write it down: libFuzzer ends the process without a word to Python."""
        seconds = time.monotonic() - self.began
        self.file.write_text(f"{self.runs} {seconds:.1f} {self.slowest:.6f} {self.input[:60]!r}")


def has_atheris() -> bool:
    """Whether the fuzzer that is guided by coverage is there."""
    return find_spec("atheris") is not None


def guided(target: str, seconds: float, corpus: Path, tally: Tally) -> None:
    """Fuzz with atheris; the process ends with it."""
    import atheris

    with atheris.instrument_imports(include=["cxtrace"]):
        from tests.fuzz.targets import TARGETS
    chosen = TARGETS[target]
    for number, seed in enumerate(chosen.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            target,
            f"-max_total_time={seconds:.0f}",
            f"-timeout={PATIENCE}",
            f"-max_len={LONGEST}",
            f"-artifact_prefix={corpus}/",
            "-rss_limit_mb=2048",
            "-verbosity=0",
            str(corpus),
        ],
        tally.watched(chosen.run),
    )
    atheris.Fuzz()


def blind(chosen: "Target", seconds: float, tally: Tally, seed: int | None = None) -> None:
    """Fuzz by mutation of the seeds, with no guide."""
    chance = random.Random(seed)
    run = tally.watched(chosen.run)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(chosen.seeds, chance)
        try:
            run(data)
        except BaseException:
            print(f"{chosen.name}: {data!r}", file=sys.stderr)
            raise
    tally.write()


def mutated(seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """A seed, changed in some places."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(data) + 1)
        way = chance.randrange(5)
        if way == 0:
            data[at:at] = chance.choice(_WORDS)
        elif way == 1:
            del data[at : at + chance.randrange(1, 20)]
        elif way == 2:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif way == 3:
            other = chance.choice(seeds)
            begin = chance.randrange(len(other) + 1)
            data[at:at] = other[begin : begin + chance.randrange(1, 60)]
        else:
            piece = data[at : at + chance.randrange(1, 40)]
            data[at:at] = piece * chance.randrange(1, 30)
    return bytes(data[:LONGEST])
