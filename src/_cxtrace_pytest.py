"""The pytest plugin of cxtrace: the fixture ``cxtrace_capture`` and the mark ``cxtrace``.

It stands beside the package and not in it, for pytest imports a plugin in every run, and with a
module of a package comes the package. So a run that does not capture loads nothing else of ours.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cxtrace.testing import Capture

_MARK = (
    "cxtrace(**options): options of cxtrace.testing.capture() for the fixture cxtrace_capture, "
    'such as journey_map="journeys.toml"'
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def cxtrace_options() -> dict[str, Any]:
    """Options of ``cxtrace_capture`` for all tests; yours, in ``conftest.py``, takes its place."""
    return {}


@pytest.fixture
def cxtrace_capture(
    request: pytest.FixtureRequest, cxtrace_options: dict[str, Any]
) -> "Iterator[Capture]":
    """Touchpoints, signals and promises of this test, as ``cxtrace.testing.capture()`` has them."""
    from cxtrace.testing import capture

    options = dict(cxtrace_options)
    # The mark of a module comes last; that of the test itself is the last word.
    for mark in reversed(list(request.node.iter_markers("cxtrace"))):
        if mark.args:
            raise pytest.UsageError("options of @pytest.mark.cxtrace have names: journey_map=…")
        options.update(mark.kwargs)
    with capture(**options) as cx:
        yield cx
