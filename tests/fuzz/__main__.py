"""``python -m tests.fuzz``: fuzz every decoder for a while, and print how often and how slow.

    python -m tests.fuzz --seconds 60
    python -m tests.fuzz --seconds 600 --only baggage --only map --corpus fuzz-corpus

With ``pip install atheris``, which needs Python 3.11 to 3.13 on Linux, the coverage of
``src/cxtrace`` guides it; without, seeds are changed blindly. An input that breaks a promise is
shown, kept in the corpus as ``crash-…`` or ``timeout-…``, and the command fails.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

NAMES = (
    *("baggage", "trusted-baggage", "signed-baggage", "destination", "routes", "map", "happy"),
    *("key-file", "changed-keys", "text", "statement", "settings", "project", "spool"),
    *("otlp-json", "webhook"),
)
"""The targets; a test holds them against ``tests.fuzz.targets``, whose import is instrumented."""

_MOST_SHOWN = 4_000
"""Characters of what a process that found something has said at last."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    logging.getLogger("cxtrace").setLevel(logging.CRITICAL)
    if options.child:
        _fuzz(options.child, options.seconds, Path(options.corpus))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(options.corpus or folder).absolute()
        failed = [name for name in options.only or NAMES if not _fuzzed(name, options, corpus)]
    if failed:
        print(f"found something: {', '.join(failed)}")
    return len(failed)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Fuzz every decoder of what others write, one after the other.",
    )
    parser.add_argument("--only", action="append", choices=NAMES, help="this target alone")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--corpus", metavar="FOLDER", help="keep interesting inputs here")
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _fuzzed(name: str, options: argparse.Namespace, corpus: Path) -> bool:
    """Fuzz one target in a process of its own, which a finding may end; say how it went."""
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, "--corpus", str(corpus)]
    for stale in corpus.glob(f"{name}.*"):
        stale.unlink()
    tally, log = corpus / f"{name}.tally", corpus / f"{name}.log"
    with log.open("wb") as file:
        done = subprocess.run(
            [*command, "--seconds", str(options.seconds)], stderr=file, stdout=file, check=False
        )
    if done.returncode:
        print(log.read_text(encoding="utf-8", errors="replace")[-_MOST_SHOWN:])
    runs, seconds, slowest, data = (
        tally.read_text().split(" ", 3) if tally.exists() else ("0", "1", "0", "")
    )
    rate = int(runs) / max(float(seconds), 0.1)
    print(
        f"{name:<16} {int(runs):>10,} runs {rate:>8,.0f}/s  slowest {float(slowest) * 1e3:>8.2f} ms"
        f"  {'ok' if done.returncode == 0 else 'FAILED'}  {data}",
        flush=True,
    )
    return done.returncode == 0


def _fuzz(name: str, seconds: float, corpus: Path) -> None:
    from tests.fuzz import engine

    tally = engine.Tally(corpus / f"{name}.tally")
    if engine.has_atheris():
        engine.guided(name, seconds, corpus / name, tally)
    else:
        from tests.fuzz.targets import TARGETS

        engine.blind(TARGETS[name], seconds, tally)


if __name__ == "__main__":
    sys.exit(main())
