"""The examples run, say what they should, agree with their map, and stand in the documentation."""

import ast
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cxtrace.cli import main as cxtrace_command
from cxtrace.exporters import read_spans

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OWN_MAP = "cxtrace.map/1"
"""Stands in a program that brings a journey map of its own."""
SAYS = {
    "asgi_service.py": "└─ ▸ journey.end first_order achieved",
    "celery_tasks.py": "newsletter.winback  run/shop.invite",
    "consent.py": "denied       cart.view []",
    "django_service.py": "✗ checkout.pay  POST pay/<int:order>/",
    "effort.py": "cx.effort.actions 3\n",
    "every_kind_of_function.py": "✓ invoice.download",
    "feature_flag.py": "nudge.outcome free_shipping_bar accepted",
    "fastapi_service.py": "   └─ ✓ order.confirm",
    "first_touchpoint.py": "✗ checkout.pay  card_declined",
    "flask_service.py": "✗ checkout.pay  POST /pay/<int:order>",
    "forget_a_customer.py": "forgotten: True\nthe same customer: False\n",
    "grpc_service.py": "✗ order.place  NOT_FOUND",
    "in_the_terminal.py": "\ncx_touchpoint_interactions_total 1\n",
    "join_a_provider.py": "SELECT shop.orders at checkout.pay\n",
    "late_identity.py": "customer v1.",
    "log_lines.py": '"event": "card declined"',
    "long_touchpoint.py": "support  service  abandoned",
    "message_consumer.py": "✗ delivery.pack  LookupError",
    "own_tests.py": "4 passed",
    "promises.py": "promise.evaluated refund_7d broken 8.4 of 7 d\n",
    "read_a_recording.py": "delivered: True\ncart.view completed\n",
    "retries.py": "checkout.pay cx.effort.service_retries 2\n",
    "signals.py": "\ncx_value_attributed_total 29.94\n",
    "threads.py": "└─ change_quantity",
    "wsgi_service.py": "✓ catalogue.download",
    "webhooks_helpdesk.py": "answered  200\nsolved    200\n",
    "webhooks_survey.py": "cx_mentions_total 1\n",
    "two_services.py": "to a stranger: ['traceparent']\n",
}
"""A part of what each example prints."""

if not EXAMPLES:
    pytest.skip("the examples are not part of what is tested here", allow_module_level=True)


def missing_packages(example: Path) -> list[str]:
    """The packages that an example imports and that are not installed."""
    tree = ast.parse(example.read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names -= {each.stem for each in EXAMPLES}  # one example may use another
    return [name for name in sorted(filter(None, names)) if not is_installed(name)]


def is_installed(name: str) -> bool:
    """Whether a module can be found."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of the machine that change what is printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", **more}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_says_what_it_should(example: Path) -> None:
    """Each is a program; the one with tests is run by pytest."""
    missing = missing_packages(example)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "tests" in example.stem else []

    done = subprocess.run(
        [sys.executable, *runner, str(example)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert SAYS[example.name] in done.stdout
    assert "swallowed" not in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_stands_in_the_documentation(example: Path) -> None:
    """Each is included by a page, so none is forgotten."""
    pages = (ROOT / "docs").rglob("*.md")

    assert any(f"/examples/{example.name}\n" in page.read_text(encoding="utf-8") for page in pages)


def test_the_examples_agree_with_their_map(capsys: pytest.CaptureFixture[str]) -> None:
    """Stages, owners and names in the code of the examples are those of the map they share."""
    examples = ROOT / "examples"
    sharing = [str(file) for file in examples.rglob("*.py") if OWN_MAP not in file.read_text()]

    cxtrace_command(["check", str(examples / "journeys.toml"), *sharing, "--ignore", "not-emitted"])

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("note: ")][:-1] == []
    assert "error" not in lines[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops a process in other ways")
@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_service_that_is_told_to_stop_loses_no_span(tmp_path: Path, options: list[str]) -> None:
    """SIGTERM kills uvicorn; the lifespan of the example has sent everything by then."""
    missing = [name for name in ("fastapi", "uvicorn") if not is_installed(name)]
    missing += missing_packages(ROOT / "examples" / "fastapi_service.py")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    log, spans = tmp_path / "log", tmp_path / "spans.jsonl"
    service = ["uvicorn", "--app-dir", "examples", "--port", "0", "fastapi_service:app"]
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *service, *options],
            cwd=ROOT,
            env=environment(CXTRACE_EXPORTER=f"file:{spans}"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = address_in(log, server)
        with urllib.request.urlopen(f"{address}/cart", timeout=20) as response:
            assert response.headers["set-cookie"].startswith("journey=")
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    finally:
        server.kill()
        server.wait(20)

    assert {span.name for span in read_spans(spans)} == {"cart.view", "GET /cart"}


def address_in(log: Path, server: "subprocess.Popen[bytes]") -> str:
    """Where the server says that it listens, once it does."""
    for _ in range(300):
        text = log.read_text(encoding="utf-8")
        found = re.search(r"running on (http://[\d.:]+)", text)
        if found is not None and "startup complete" in text:
            return found[1]
        assert server.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8"))
