"""The example shop: what the code of `examples/shop` says, without running it."""

import ast
from pathlib import Path

import pytest

from cxtrace import cli

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOP = EXAMPLES / "shop"
SERVICES = ("storefront", "payments", "fulfilment")


def imports(file: Path) -> set[str]:
    """The outermost packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def test_map_and_code_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """`cxtrace check` finds no error between the shop's code and its map."""
    code = cli.main(["check", str(EXAMPLES / "journeys.toml"), str(SHOP)])
    assert code == 0, capsys.readouterr().out


def test_customers_know_nothing_of_telemetry() -> None:
    """The scripted customers are outside: they import neither cxtrace nor OpenTelemetry."""
    for name in ("customers.py", "people.py", "settings.py"):
        assert not imports(SHOP / name) & {"cxtrace", "opentelemetry"}


def test_the_queue_is_instrumented_with_opentelemetry_alone() -> None:
    """Nothing of cxtrace is needed to carry a journey through a queue of one's own."""
    assert "opentelemetry" in imports(SHOP / "warehouse.py")
    assert "cxtrace" not in imports(SHOP / "warehouse.py")


@pytest.mark.parametrize("service", SERVICES)
def test_cxtrace_is_configured_before_anything_is_instrumented(service: str) -> None:
    """The first call in each service's main() is cxtrace.configure with the service's name."""
    tree = ast.parse((SHOP / f"{service}.py").read_text())
    (main,) = (
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"
    )
    first = main.body[1]
    assert ast.unparse(first) == f"cxtrace.configure(service_name='{service}')"


@pytest.mark.parametrize("service", SERVICES)
def test_logs_are_set_up_when_it_is_decided_where_they_go(service: str) -> None:
    """The handler of OpenTelemetry takes the provider that is there, so configure() comes first."""
    code = (SHOP / f"{service}.py").read_text()
    assert 0 < code.index("cxtrace.configure(") < code.index("logs.set_up()")


@pytest.mark.parametrize("service", SERVICES)
def test_services_reach_into_nothing_private(service: str) -> None:
    """What newcomers copy uses the public names of cxtrace alone."""
    code = (SHOP / f"{service}.py").read_text()
    assert "cxtrace._" not in code
    assert "import _" not in code
