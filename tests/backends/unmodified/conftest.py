"""The backends that all unmodified applications send to, and what a platform team installs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..metric_stores import VictoriaMetrics
from ..servers import Jaeger
from .installed import Installed, wheel_of_cxtrace
from .running import Platform, Split


@pytest.fixture(scope="session")
def platform(
    collector_binary: None,
    jaeger: Jaeger,
    victoriametrics: VictoriaMetrics,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    """The applications as they are published, our wheel, and a Collector for what they send."""
    installed = Installed()
    wheel = wheel_of_cxtrace(tmp_path_factory.mktemp("wheel"))
    with Split(tmp_path_factory.mktemp("collector"), jaeger, victoriametrics) as collector:
        yield Platform(installed, wheel, collector)
