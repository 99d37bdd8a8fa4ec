from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from .metric_stores import MetricStore, Prometheus, VictoriaMetrics
from .servers import Collector, Jaeger, MissingError, Server, binary
from .trace_stores import Tempo, VictoriaTraces


@pytest.fixture(scope="session")
def collector_binary() -> None:
    """The Collector is built: otherwise the test is skipped, and in CI it fails."""
    _require("collector")


@pytest.fixture(scope="session")
def jaeger_binary() -> None:
    """Jaeger is built: otherwise the test is skipped, and in CI it fails."""
    _require("jaeger")


@pytest.fixture(scope="session")
def prometheus_binary() -> None:
    """Prometheus is built: otherwise the test is skipped, and in CI it fails."""
    _require("prometheus")


@pytest.fixture(scope="session")
def victoriametrics_binary() -> None:
    """VictoriaMetrics is built: otherwise the test is skipped, and in CI it fails."""
    _require("victoriametrics")


@pytest.fixture(scope="session")
def oslo_binary() -> None:
    """OpenSLO's own tool is built: otherwise the test is skipped, and in CI it fails."""
    _require("oslo")


@pytest.fixture(scope="session")
def pint_binary() -> None:
    """The linter pint is built: otherwise the test is skipped, and in CI it fails."""
    _require("pint")


@pytest.fixture(scope="session")
def sloth_binary() -> None:
    """Sloth is built: otherwise the test is skipped, and in CI it fails."""
    _require("sloth")


@pytest.fixture(scope="session")
def collector(
    collector_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """A Collector that all tests share: look for your own service name in its output."""
    with Collector(tmp_path_factory.mktemp("collector")) as server:
        yield server


@pytest.fixture(scope="session")
def jaeger(jaeger_binary: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger that all tests share: look for your own service name in it."""
    with Jaeger(tmp_path_factory.mktemp("jaeger")) as server:
        yield server


@pytest.fixture(scope="session")
def tempo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tempo]:
    """A Tempo that all tests share: look for your own stage or journey in it."""
    with Tempo(tmp_path_factory.mktemp("tempo")) as server:
        yield server


@pytest.fixture(scope="session")
def victoriatraces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaTraces]:
    """A VictoriaTraces that all tests share: look for your own stage or journey in it."""
    with VictoriaTraces(tmp_path_factory.mktemp("victoriatraces")) as server:
        yield server


@pytest.fixture(scope="session")
def prometheus(
    prometheus_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that all tests share: look for your own `job` in it."""
    with Prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture(scope="session")
def victoriametrics(
    victoriametrics_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics that all tests share: look for your own `service_name` in it."""
    with VictoriaMetrics(tmp_path_factory.mktemp("victoriametrics")) as server:
        yield server


@pytest.fixture(scope="session", params=["victoriametrics", "prometheus"])
def store(request: pytest.FixtureRequest) -> MetricStore:
    """Each of the stores of metrics in turn."""
    server: MetricStore = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def metrics_collector(
    collector_binary: None,
    victoriametrics: VictoriaMetrics,
    prometheus: Prometheus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Collector]:
    """A Collector like `collector` that also passes metrics on to both stores."""
    exporters = {**victoriametrics.exporter(), **prometheus.exporter()}
    folder = tmp_path_factory.mktemp("metrics_collector")
    with Collector(folder, metrics_exporters=exporters) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a failed test's servers printed."""
    report = yield
    if report.failed:
        for name, value in item.funcargs.items():
            if isinstance(value, Server):
                report.sections.append((f"log of {name}: {value.log}", value.log_tail()))
    return report


def _require(name: str) -> None:
    try:
        binary(name)
    except MissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
