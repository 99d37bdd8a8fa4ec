"""Real stores of metrics for tests: each takes OTLP over HTTP and answers PromQL.

They are servers as in `servers.py`. A Collector passes metrics on to one with
`Collector(folder, metrics_exporters=store.exporter())`.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .servers import HOST, Config, OnePortServer, binary, get

T = TypeVar("T")


class Sample(NamedTuple):
    """One value of an answer, and all labels of its series; a metric's name is `__name__`."""

    labels: dict[str, str]
    value: float


class Exemplar(NamedTuple):
    """One measurement, with the labels of its series and those of its own."""

    series: dict[str, str]
    labels: dict[str, str]
    value: float


def promtool(*arguments: str | Path) -> str:
    """What `promtool check rules FILE` and the like find wrong; nothing ("") when all is well."""
    command = [binary("prometheus").with_name("promtool"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


class MetricStore(OnePortServer):
    """A running, empty store of metrics."""

    otlp_path: str
    """What comes before `/v1/metrics`."""

    @property
    def otlp_grpc(self) -> str:
        raise NotImplementedError(f"{self.name} takes no OTLP over gRPC")

    @property
    def otlp_http(self) -> str:
        return self.url + self.otlp_path

    def exporter(self) -> Config:
        """What makes a Collector send here."""
        return {f"otlp_http/{self.name}": {"endpoint": self.otlp_http}}

    def query(self, promql: str, *, at_least: int = 1, timeout: float = 60) -> list[Sample]:
        """The values of this moment, once there are `at_least` so many; 0 does not wait.

        Too few after `timeout` seconds are an AssertionError; a wrong query is a ValueError.
        """
        return self._enough(lambda: self._samples(promql), at_least, timeout)

    def value(self, promql: str, *, timeout: float = 60) -> float:
        """The one value of this moment, once there is one; several are a ValueError."""
        ((_, value),) = self.query(promql, timeout=timeout)
        return value

    def lines(self, promql: str, *, seconds: int, step: int) -> list[dict[str, str]]:
        """The labels of the series that have a number at some time until now."""
        now = time.time()
        query = {"query": promql, "start": now - seconds, "end": now, "step": step}
        return [
            each["metric"]
            for each in self._ask("query_range", query)["result"]
            if any(math.isfinite(float(value)) for _, value in each["values"])
        ]

    def label_values(self, selector: str, label: str) -> list[str]:
        """The values that a label has in the last day."""
        now = time.time()
        query = {"match[]": selector, "start": now - 86_400, "end": now}
        return [str(each) for each in self._ask(f"label/{label}/values", query)]

    def _samples(self, promql: str) -> list[Sample]:
        data = self._ask("query", {"query": promql})
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in data["result"]]

    def _enough(self, ask: Callable[[], list[T]], at_least: int, timeout: float) -> list[T]:
        found: list[T] = []

        def look() -> bool:
            found[:] = ask()
            if len(found) < at_least:
                raise OSError(f"{at_least} expected, and this came: {found}")
            return True

        self.wait_for(look, timeout)
        return found

    def _ask(self, path: str, query: dict[str, Any]) -> Any:
        status, body = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        text = body.decode(errors="replace")
        if status in (400, 422):
            raise ValueError(f"{self.name} refuses {query}: {text}")
        if status != 200:
            raise OSError(f"{self.name} answered {status}: {text}")
        return json.loads(text)["data"]


class VictoriaMetrics(MetricStore):
    """A running VictoriaMetrics with Prometheus's names, and else as it is by default."""

    name = "victoriametrics"
    health_path = "/health"
    otlp_path = "/opentelemetry"

    def config(self) -> Config:
        return {
            "httpListenAddr": f"{HOST}:{self.ports.query}",
            "storageDataPath": str(self.folder / "data"),
            "opentelemetry.usePrometheusNaming": "true",
            "memory.allowedBytes": "256MiB",
            # By default a value can be asked for 30 s after its time, and not earlier.
            "search.latencyOffset": "0s",
        }

    def command(self, binary: Path, config: Path) -> list[str]:
        return [str(binary), *(f"-{flag}={value}" for flag, value in self.config().items())]

    def _samples(self, promql: str) -> list[Sample]:
        # What has just come in is kept for about a second where no query sees it.
        get(f"{self.url}/internal/force_flush")
        return super()._samples(promql)


class Prometheus(MetricStore):
    """A running Prometheus that scrapes nothing, with exemplars, and else as it is by default."""

    name = "prometheus"
    health_path = "/-/ready"
    otlp_path = "/api/v1/otlp"

    def config(self) -> Config:
        # Without it, a request that comes late by any bit is refused.
        return {"storage": {"tsdb": {"out_of_order_time_window": "30m"}}}

    def command(self, binary: Path, config: Path) -> list[str]:
        return [
            str(binary),
            f"--config.file={config}",
            f"--web.listen-address={HOST}:{self.ports.query}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ]

    def exemplars(self, promql: str, *, at_least: int = 1, timeout: float = 60) -> list[Exemplar]:
        """The exemplars of the query's series, once there are `at_least` so many."""
        return self._enough(lambda: self._exemplars(promql), at_least, timeout)

    def _exemplars(self, promql: str) -> list[Exemplar]:
        now = time.time()
        found = self._ask(
            "query_exemplars", {"query": promql, "start": now - 86_400, "end": now + 60}
        )
        return [
            Exemplar(series["seriesLabels"], each["labels"], float(each["value"]))
            for series in found
            for each in series["exemplars"]
        ]
