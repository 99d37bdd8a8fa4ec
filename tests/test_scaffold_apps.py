"""``cxtrace scaffold`` reads OpenAPI files and writes maps, and says what it cannot read."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cxtrace.cli import main
from cxtrace.journey_map import JourneyMap
from tests.scaffolds import Result, Run, Scaffold, Write

OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Shop"},
    "servers": [{"url": "https://shop.example/api/v2/"}],
    "paths": {
        "/orders/{id}": {
            "get": {"operationId": "getOrder", "tags": ["Orders"]},
            "delete": {"summary": "Cancel an order"},
            "parameters": [],
        },
        "/odd": {"post": None, "get": {"tags": "odd"}},
        "/odder": "none",
    },
}


def test_every_operation_of_an_openapi_file_is_covered(
    write: Write, scaffold: Scaffold, run: Run
) -> None:
    """Each method of each path, below the path of the first server."""
    write("openapi.json", json.dumps(OPENAPI))

    assert scaffold("openapi.json") == {
        "GET /api/v2/orders/{id}": "orders.view",
        "DELETE /api/v2/orders/{id}": "orders.cancel",
        "GET /api/v2/odd": "odd.view",
        "POST /api/v2/odd": "odd.submit",
    }
    assert 'name = "Shop"' in run("scaffold", "openapi.json").out


@pytest.mark.parametrize(
    "change",
    [
        {"servers": []},
        {"servers": "x"},
        {"servers": [{"url": "{base}/v1"}], "info": 1},
        {"servers": [1]},
    ],
)
def test_servers_that_say_nothing_add_nothing(
    write: Write, scaffold: Scaffold, change: dict[str, Any]
) -> None:
    """Without a plain address the paths stay as they are, and the file names the map."""
    write("openapi.json", json.dumps({**OPENAPI, **change}))

    assert "GET /odd" in scaffold("openapi.json")


def test_openapi_in_yaml_is_read_where_pyyaml_is_there(
    write: Write, scaffold: Scaffold, run: Run
) -> None:
    """Where it is not, the message says what to do."""
    write("api.yaml", 'openapi: "3.0.3"\npaths:\n  /basket:\n    get: {}\n')

    assert scaffold("api.yaml") == {"GET /basket": "basket.view"}
    write("yaml.py", "raise ImportError\n")
    done = run("scaffold", "api.yaml")
    assert done.code == 2
    assert "to read api.yaml PyYAML is needed; install it, or give the file as JSON" in done.err


# The command


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """A function that runs ``cxtrace scaffold`` in this process, in a folder with a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openapi.json").write_text(json.dumps(OPENAPI), encoding="utf-8")

    def run(*arguments: str) -> Result:
        code = main(["scaffold", *arguments])
        return Result(code, *capsys.readouterr())

    return run


def test_the_map_is_printed_and_the_summary_stands_apart(here: Run) -> None:
    """The map goes to standard output, what was found and what to do next to standard error."""
    done = here("openapi.json", "--without", "/api/v2/odd")

    assert done.code == 0
    assert JourneyMap.loads(done.out).name == "Shop"
    assert done.err == (
        "cxtrace scaffold: 2 touchpoints for 2 routes, in 2 stages and 2 journeys;"
        " left out: named by --without (1)\n"
        "next: edit what is marked as a guess, then run: cxtrace check MAP\n"
    )


def test_a_file_is_not_overwritten_without_force(here: Run, tmp_path: Path) -> None:
    """The application is not even imported then."""
    first = here("openapi.json", "-o", "map.toml")
    before = (tmp_path / "map.toml").read_text(encoding="utf-8")

    again = here("no.such:app", "-o", "map.toml")

    assert (first.code, first.out) == (0, "")
    assert first.err.endswith("cxtrace check map.toml\n")
    assert again.code == 2
    assert "map.toml exists; choose another file, or replace it with --force" in again.err
    assert here("openapi.json", "-o", "map.toml", "--force", "--name", "new").code == 0
    assert (tmp_path / "map.toml").read_text(encoding="utf-8") != before


def test_json_says_what_each_guess_comes_from(here: Run) -> None:
    """Touchpoints, journeys and what is left out, for tools."""
    data = json.loads(here("openapi.json", "--json").out)

    assert data["targets"] == [{"target": "openapi.json", "kind": "OpenAPI"}]
    assert data["touchpoints"][0] == {
        "name": "orders.view",
        "stage": "purchase",
        "owner": "sales",
        "match": [{"route": "GET /api/v2/orders/{id}"}],
        "guessed_from": {"stage": "order", "owner": "order"},
    }
    assert data["touchpoints"][1]["guessed_from"] == {"stage": None, "owner": None}
    assert data["journeys"][0]["name"] == "buy"
    assert data["left_out"] == []


def test_nothing_found_is_a_finding(here: Run, tmp_path: Path) -> None:
    """A map without a touchpoint would help nobody."""
    (tmp_path / "empty.json").write_text('{"openapi": "3.0.0"}', encoding="utf-8")

    done = here("empty.json")

    assert (done.code, done.out) == (1, "")
    assert done.err == "cxtrace scaffold: nothing is found in empty.json\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop"], "'shop' is no application; write module:object such as shop.main:app"),
        (["shop/main.py"], "did you mean shop.main:app?"),
        (["./main.py:api"], "did you mean main:api?"),
        (["no_such_shop.main:app"], "there is no module 'no_such_shop'; run this in the folder"),
        (["json.nothing:app"], "there is no module 'json.nothing'; run this in the folder"),
        (["json:dump_s"], "json has no 'dump_s'; did you mean dumps?"),
        (["json:xyz"], "json has no 'xyz'; check the name"),
        (["clinic:app"], "clinic has no 'app'; did you mean clinic:create_app()?"),
        (["clinic:service"], "clinic has no 'service'; did you mean clinic:create_app()?"),
        (["clinic:aps"], "clinic has no 'aps'; did you mean api?"),
        (["json:dumps"], "json:dumps cannot be called without arguments (missing a required"),
        (["json:__name__"], "json:__name__ is of builtins.str; name an application of FastAPI"),
        (["json:JSONDecoder"], "json:JSONDecoder is of json.decoder.JSONDecoder; name"),
        (["json:__name__()"], "json:__name__() is of builtins.str; name an application"),
        (["none.json"], "none.json cannot be read: there is no such file or folder\n"),
        (["bytes.json"], "bytes.json is no text in UTF-8; name an OpenAPI file"),
        (["broken.json"], "broken.json cannot be read ("),
        (["broken.yml"], "broken.yml is no YAML: "),
        (["list.json"], "list.json is no OpenAPI file; give an OpenAPI 3 file"),
        (["swagger.json"], "swagger.json is of Swagger 2; give an OpenAPI 3 file, or convert"),
        (["raising_here:app"], "raising_here could not be imported (RuntimeError: no key); run"),
        (["leaving_here:app"], "leaving_here could not be imported (SystemExit: 3); run this"),
        (["lacking_here:app"], "lacking_here could not be imported (ModuleNotFoundError: "),
        (["raising_later:app"], "raising_later:app could not be imported (ValueError: no); run"),
        (["openapi.json", "-o", "broken.json/map.toml"], "a file stands where a folder should be"),
        (["openapi.json", "--name", " "], "--name ' ': write words, such as shop"),
        (["openapi.json", "--name", "a\n"], "--name 'a\\n': write words, such as shop"),
    ],
)
def test_wrong_use_says_what_to_write(
    here: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """What cannot be read is named, with what to write instead, and nothing is printed."""
    files = {
        "broken.json": "{",
        "broken.yml": "a: [",
        "list.json": "[]",
        "swagger.json": '{"swagger": "2.0"}',
        "raising_here.py": "raise RuntimeError('no key')",
        "leaving_here.py": "raise SystemExit(3)",
        "lacking_here.py": "import no_such_package",
        "clinic.py": "make_app = api = None\n\ndef create_app(): ...\n",
        "raising_later.py": "def app():\n    raise ValueError('no')",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "bytes.json").write_bytes(b"\xff")

    done = here(*arguments)

    assert (done.code, done.out) == (2, "")
    assert message in done.err.replace(os.sep, "/")


def test_django_without_settings_says_how_to_name_them(run: Run) -> None:
    """Neither the target nor the environment names them."""
    done = run("scaffold", "django")

    assert done.code == 2
    assert (
        "no settings are named; write django:project.settings, or set DJANGO_SETTINGS_MODULE"
    ) in done.err


def test_the_import_path_stays_as_it_was(here: Run, tmp_path: Path) -> None:
    """The current folder is on it only while the application is read."""
    before = sys.path.copy()

    here("no_such_shop:app")

    assert sys.path == before
