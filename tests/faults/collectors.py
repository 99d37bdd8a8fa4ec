"""The real Collector, which can be killed, hung and cut off, and whose every span is counted."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Final

from tests.backends.servers import HOST, Collector, Config, Ports, binary
from tests.faults.network import Network

_SPAN_ID: Final = re.compile(rb'"spanId":"([0-9a-f]{16})"')


class Patient(Collector):
    """A Collector to which things happen.

    What it has acknowledged stands in its files, whatever happens to it: with ``rotation`` it
    writes each request to the file at once, and only then answers.
    """

    def __init__(self, folder: Path, network: Network | None = None) -> None:
        self._network = network
        self._kept: Ports | None = None
        self._starts = 0
        self._read: dict[Path, int] = {}
        self._arrived: Counter[bytes] = Counter()
        super().__init__(folder)
        self._kept = self.ports

    @property
    def host(self) -> str:
        """Where the service finds it."""
        return HOST if self._network is None else self._network.inside

    @property
    def health_url(self) -> str:
        return super().health_url.replace(HOST, self.host)

    def config(self) -> Config:
        self.ports = self._kept or self.ports
        self.output = self.folder / f"traces-{self._starts}.jsonl"
        config = super().config()
        config["exporters"]["file/traces"] = {
            "path": str(self.output),
            "rotation": {"max_megabytes": 10_000},
        }
        config["receivers"]["otlp"]["protocols"]["http"]["endpoint"] = (
            f"{self.host}:{self.ports.otlp_http}"
        )
        config["extensions"]["health_check"]["endpoint"] = f"{self.host}:{self.ports.health}"
        return config

    def command(self, binary: Path, config: Path) -> list[str]:
        inside = () if self._network is None else self._network.command
        return [*inside, *super().command(binary, config)]

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def start_again(self) -> None:
        """Start it on the same ports, and wait until it is ready."""
        self._starts += 1
        self._launch(binary(self.name))
        self.wait_for(self._is_healthy, timeout=30)

    def hang(self) -> None:
        """Let it take connections, as the kernel does for it, and do nothing else."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was hung."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def arrived(self) -> Counter[bytes]:
        """How often each span has come, by its id; only what is new is read."""
        for path in self.folder.glob("traces-*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            # A line that has no end was not acknowledged.
            whole = new[: new.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            self._arrived.update(_SPAN_ID.findall(whole))
        return self._arrived
