from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from .servers import Collector, Jaeger, MissingError, Server, binary


@pytest.fixture(scope="session")
def collector_binary() -> None:
    """The Collector is built: otherwise the test is skipped, and in CI it fails."""
    _require("collector")


@pytest.fixture(scope="session")
def jaeger_binary() -> None:
    """Jaeger is built: otherwise the test is skipped, and in CI it fails."""
    _require("jaeger")


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
