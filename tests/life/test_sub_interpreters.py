"""Sub-interpreters: cxtrace says that it cannot be configured there, and why, and harms nobody."""

import sys

import pytest

from tests.life.programs import run

PROGRAM = """
import traceback
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

CODE = f'''
import sys
sys.path[:] = {sys.path!r}
import cxtrace
try:
    cxtrace.configure(service_name="sub", exporter="none")
except cxtrace.ConfigurationError as error:
    print("refused:", error)
with cxtrace.touchpoint("visit"):
    pass
print(cxtrace.flush(), cxtrace.shutdown())
'''
if sys.version_info >= (3, 13):
    made = interpreters.create("KIND")
    failure = interpreters.exec(made, CODE)
    assert failure is None, failure
else:
    made = interpreters.create(isolated="KIND" == "isolated")
    interpreters.run_string(made, CODE)
sys.stdout.flush()
interpreters.destroy(made)
configure()
with touchpoint("main"):
    pass
print("main", cxtrace.flush(50))
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython has them")
@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_a_sub_interpreter(tmp_path, kind):
    """``configure()`` names the reason and what to do; every other call does nothing."""
    printed = run(tmp_path, PROGRAM.replace("KIND", kind)).splitlines()

    refused = "refused: cxtrace cannot be configured in a sub-interpreter: "
    assert [line[: len(refused)] for line in printed] == [refused, "True True", "main True"]
    assert "WSGIApplicationGroup %{GLOBAL}" in printed[0]
    assert "single-interpreter" in printed[0]
