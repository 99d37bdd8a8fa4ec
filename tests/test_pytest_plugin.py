"""The pytest plugin: a fixture, a mark, and nothing for those who use neither."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import _cxtrace_pytest

pytest_plugins = ["pytester"]

MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
it = { contact = "#it" }

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "it"
influence = { it = 1.0 }
"""
NAMES = """
import sys

def test_names():
    with open("names.txt", "w", encoding="utf-8") as file:
        file.write("\\n".join(sys.modules))
"""


def loaded(folder: Path, *options: str) -> set[str]:
    """The modules that a pytest run of a test without cxtrace has loaded."""
    (folder / "test_names.py").write_text(NAMES, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return set((folder / "names.txt").read_text(encoding="utf-8").split())


def test_the_plugin_is_announced() -> None:
    """Installing cxtrace is enough: pytest finds the plugin by its entry point."""
    (found,) = entry_points(group="pytest11", name="cxtrace")

    assert found.load() is _cxtrace_pytest


def test_a_run_without_a_capture_loads_nothing(tmp_path: Path) -> None:
    """Where no test captures, one small module of ours is all that a run loads more."""
    without, with_it = loaded(tmp_path, "-p", "no:cxtrace"), loaded(tmp_path)

    assert with_it - without == {"_cxtrace_pytest"}
    assert [name for name in with_it if name.startswith(("cxtrace", "opentelemetry"))] == []


def test_each_test_has_a_capture_of_its_own(pytester: pytest.Pytester) -> None:
    """The fixture captures one test, from its beginning to its end."""
    pytester.makepyfile(
        """
        import cxtrace
        import pytest
        from cxtrace.testing import Capture

        @pytest.mark.parametrize("number", [1, 2])
        def test_pay(cxtrace_capture, number):
            with cxtrace.touchpoint("checkout.pay"):
                pass

            assert isinstance(cxtrace_capture, Capture)
            assert cxtrace_capture.touchpoint("checkout.pay").owner is None

        def test_after():
            with cxtrace.touchpoint("checkout.pay") as tp:
                assert not tp.span.is_recording()
        """
    )

    pytester.runpytest_subprocess("-W", "error", "--strict-markers").assert_outcomes(passed=3)


def test_marks_give_options(pytester: pytest.Pytester) -> None:
    """Options come from a fixture for all tests, a mark of the module, and one of the test."""
    pytester.makefile(".toml", journeys=MAP)
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def cxtrace_options():
            return {"sample": 0.0, "signals_off": ["friction"]}
        """
    )
    pytester.makepyfile(
        """
        import cxtrace
        import pytest

        pytestmark = pytest.mark.cxtrace(journey_map="journeys.toml", sample=1.0)

        def pay():
            with cxtrace.touchpoint("checkout.pay") as tp, cxtrace.customer("cust-42"):
                tp.friction("slow")

        def test_module(cxtrace_capture):
            pay()
            assert cxtrace_capture.touchpoint("checkout.pay").owner == "it"
            cxtrace_capture.assert_no_friction()

        @pytest.mark.cxtrace(signals_off=[])
        def test_test(cxtrace_capture):
            pay()
            assert cxtrace_capture.touchpoint("checkout.pay").owner == "it"
            assert len(cxtrace_capture.signals("friction")) == 1

        @pytest.mark.cxtrace(sample=0.0)
        def test_last_word(cxtrace_capture):
            pay()
            assert cxtrace_capture.touchpoints == []
        """
    )

    pytester.runpytest_subprocess("-W", "error", "--strict-markers").assert_outcomes(passed=3)


def test_a_mark_without_a_name_is_a_mistake(pytester: pytest.Pytester) -> None:
    """An option that has no name is refused, and the message says how it is written."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.cxtrace("journeys.toml")
        def test_pay(cxtrace_capture):
            pass
        """
    )
    result = pytester.runpytest_inprocess()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*options of @pytest.mark.cxtrace have names: journey_map=*"])


def test_a_failed_assertion_points_at_the_test(pytester: pytest.Pytester) -> None:
    """What pytest shows of a failure is the test and the message, not the inside of cxtrace."""
    pytester.makepyfile(
        """
        def test_pay(cxtrace_capture):
            cxtrace_capture.assert_outcome("checkout.pay", "completed")
        """
    )
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ['>*cxtrace_capture.assert_outcome("checkout.pay", "completed")', "E*no visit of*"]
    )
    result.stdout.no_fnmatch_line("*_capture.py*")


def test_the_mark_is_listed(pytester: pytest.Pytester) -> None:
    """``pytest --markers`` and ``--fixtures`` describe what the plugin adds."""
    markers = pytester.runpytest_subprocess("--markers").stdout.str()
    fixtures = pytester.runpytest_subprocess("--fixtures").stdout.str()

    assert "@pytest.mark.cxtrace(**options): options of cxtrace.testing.capture()" in markers
    assert "cxtrace_capture --" in fixtures.replace(" [function scope]", "")
    assert "cxtrace_options --" in fixtures


def test_the_fixture_works_here(cxtrace_capture: object) -> None:
    """The project's own tests can use the fixture as anybody's can."""
    assert repr(cxtrace_capture) == "<Capture of 0 touchpoints>"


@pytest.mark.cxtrace(sample=0.0)
def test_the_mark_works_here(cxtrace_capture: object) -> None:
    """The mark is known here too."""
    assert repr(cxtrace_capture) == "<Capture of 0 touchpoints>"
