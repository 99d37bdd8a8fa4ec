"""``cxtrace scaffold`` reads real applications and writes maps that ``cxtrace check`` passes."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cxtrace.cli import main
from cxtrace.journey_map import JourneyMap

LEFT_TO_PEOPLE = [
    f"--ignore={rule}" for rule in ("one-function-journey", "journey-not-told", "outside-journeys")
]
"""Warnings about what only a person who knows the customers can put into the map."""

COMMAND = "import sys; from cxtrace.cli import main; sys.exit(main())"


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a file of an application."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs ``cxtrace`` in the folder of the application, in its own process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CXTRACE_", "DJANGO_"))}

    def run(*arguments: str, **environ: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=tmp_path,
            env={**kept, **environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def scaffold(run: Run, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """A function that scaffolds a map, checks it, and gives its targets with their names."""

    def scaffold(*arguments: str, **environ: str) -> dict[str, str]:
        done = run("scaffold", *arguments, "-o", "journeys.toml", "--force", **environ)
        assert (done.code, done.out) == (0, ""), done.err
        checked = run("check", "--strict", *LEFT_TO_PEOPLE, "journeys.toml")
        assert checked.code == 0, checked.out
        journey_map = JourneyMap.load(tmp_path / "journeys.toml")
        return {
            str(match.route or match.task): touchpoint.name
            for touchpoint in journey_map.touchpoints.values()
            for match in touchpoint.match
        }

    return scaffold


def needs(*modules: str) -> None:
    """Skip where a framework is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


FASTAPI = """
    from enum import Enum

    from fastapi import APIRouter, FastAPI, WebSocket
    from starlette.applications import Starlette
    from starlette.endpoints import HTTPEndpoint
    from starlette.responses import PlainTextResponse
    from starlette.routing import Host, Mount, Route, Router
    from starlette.staticfiles import StaticFiles

    print("an application may print")

    class Tag(Enum):
        BASKET = "basket"

    app = FastAPI()

    @app.get("/")
    def root(): ...

    @app.get("/health")
    def health(): ...

    router = APIRouter(prefix="/api/v1")

    @router.post("/lines/{pk}", tags=[Tag.BASKET])
    def add_line(pk: int): ...

    @router.get("/files/{name:path}", operation_id="downloadFile")
    def files(name): ...

    inner = APIRouter()

    @inner.websocket("/chat/{room}")
    async def chat(socket: WebSocket, room: str): ...

    router.include_router(inner, prefix="/support")
    app.include_router(router)

    class Profile(HTTPEndpoint):
        async def get(self, request): ...
        async def delete(self, request): ...

    def page(request):
        return PlainTextResponse("")

    class Nothing(HTTPEndpoint):
        pass

    async def plain(scope, receive, send): ...

    class Wrapped:
        def __init__(self, app):
            self.app = app

    app.mount(
        "/shop/{tenant}",
        Wrapped(
            Starlette(
                routes=[
                    Route("/login", page, methods=["GET", "POST"]),
                    Route("/profile", Profile),
                    Route("/nothing", Nothing),
                    Mount("/inside", routes=[Route("/help", page)]),
                    Host("api.example.com", Router(routes=[Route("/orders", page)])),
                ]
            )
        ),
    )
    app.mount("/plain", plain)
    app.mount("/assets", StaticFiles(directory="."))
    app.mount("/any", Router(routes=[Route("/thing", Wrapped(plain))]))
    wrapped = Wrapped(app)

    def create_app(): return app
    def create_with(setting): return app
    async def coroutine(scope, receive, send): ...
    number = 7
"""


def test_every_route_of_fastapi_and_starlette_is_covered(
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
) -> None:
    """Routers, mounts, hosts, web sockets, endpoint classes and middleware are followed."""
    needs("fastapi")
    write("shop/main.py", FASTAPI)

    found = scaffold("shop.main:app")

    assert found == {
        "GET /": "home.view",
        "POST /api/v1/lines/{pk}": "lines.add",
        "GET /api/v1/files/{name:path}": "files.download",
        "WEBSOCKET /api/v1/support/chat/{room}": "support.chat.connect",
        "GET /shop/{tenant}/login": "shop.login.view",
        "POST /shop/{tenant}/login": "shop.login",
        "GET /shop/{tenant}/profile": "shop.profile.view",
        "DELETE /shop/{tenant}/profile": "shop.profile.remove",
        "* /shop/{tenant}/nothing": "shop.nothing.view",
        "GET /shop/{tenant}/inside/help": "shop.inside.help.view",
        "GET /shop/{tenant}/orders": "shop.orders.browse",
        "* /plain/{path:path}": "plain.view",
        "* /any/thing": "any.thing.view",
    }
    for same in ("shop.main:wrapped", "shop.main:create_app", "shop.main:create_app()"):
        assert scaffold(same) == found
    left_out = json.loads(run("scaffold", "shop.main:app", "--json").out)["left_out"]
    reasons = {each["route"]: each["reason"] for each in left_out}
    assert reasons["GET /openapi.json"] == "documentation of the API"
    assert reasons["GET /assets/{path:path}"] == "static files"
    assert reasons["HEAD /shop/{tenant}/login"].startswith("answered like")


FLASK = """
    from flask import Blueprint, Flask
    from flask.views import MethodView
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.middleware.proxy_fix import ProxyFix
    from werkzeug.routing import BaseConverter

    class Deep(BaseConverter):
        regex = ".+"
        part_isolating = False

    def create_app():
        app = Flask(__name__)
        app.url_map.converters["deep"] = Deep
        shop = Blueprint("shop", __name__, url_prefix="/shop", static_folder="files")

        @shop.route("/basket/add/<int(min=1):pk>", methods=["POST"])
        def add(pk): ...

        @shop.route('/<any("new", "sale"):kind>/<deep:rest>')
        @app.route("/page/<path:rest>")
        def page(rest, kind=None): ...

        class Account(MethodView):
            def get(self): ...
            def put(self): ...

        app.add_url_rule("/account", view_func=Account.as_view("account"))
        app.add_url_rule("/built/<x>", endpoint="built", build_only=True)
        app.add_url_rule("/socket", endpoint="socket", websocket=True)
        app.register_blueprint(shop)
        return app

    other = Flask("other")

    @other.get("/help")
    def help_(): ...

    app = create_app()
    app.wsgi_app = ProxyFix(DispatcherMiddleware(app.wsgi_app, {"/other": other}))
    both = DispatcherMiddleware(create_app(), {"/other": other})
"""


def test_every_route_of_flask_is_covered(
    write: Write, scaffold: Callable[..., dict[str, str]]
) -> None:
    """Blueprints, converters, classes and dispatched applications are followed."""
    needs("flask")
    write("web.py", FLASK)

    found = scaffold("web:app")

    assert found == {
        "POST /shop/basket/add/{pk}": "shop.basket.add",
        "GET /shop/{kind}/{rest:path}": "shop.view",
        "GET /page/{rest:path}": "page.view",
        "GET /account": "account.view",
        "PUT /account": "account.replace",
        "WEBSOCKET /socket": "socket.connect",
        "GET /other/help": "other.help.view",
    }
    assert scaffold("web:both") == found


CELERY = """
    from celery import Celery, shared_task

    app = Celery("shop", include=["more"])

    @app.task
    def send_invoice(order): ...

    @shared_task(name="orders.refund")
    def refund(order): ...
"""

MORE_TASKS = """
    from jobs import app

    @app.task
    def cleanup(): ...
"""


def test_every_task_of_celery_is_covered(
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
) -> None:
    """Tasks of imported modules and shared tasks are found; upkeep and Celery's are left out."""
    needs("celery")
    write("jobs.py", CELERY)
    write("more.py", MORE_TASKS)

    assert scaffold("jobs:app") == {
        "jobs.send_invoice": "invoice.send",
        "orders.refund": "refund",
    }
    printed = run("scaffold", "jobs:app")
    assert "# tasks of upkeep (1)\n#   more.cleanup\n" in printed.out


DJANGO_SETTINGS = """
    SECRET_KEY = "x"
    ROOT_URLCONF = "project.urls"
    USE_I18N = True
    LANGUAGE_CODE = "en"
    INSTALLED_APPS = [
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions",
    ]
"""

DJANGO_URLS = """
    from functools import partial

    from django.conf.urls.i18n import i18n_patterns
    from django.contrib import admin
    from django.urls import include, path, re_path, register_converter
    from django.views.decorators.http import require_GET, require_http_methods, require_safe
    from django.views.generic import DeleteView, FormView, RedirectView, TemplateView, View
    from django.views.i18n import JavaScriptCatalog
    from django.views.static import serve

    class Deep:
        regex = ".+"
        def to_python(self, value): return value
        def to_url(self, value): return value

    register_converter(Deep, "deep")

    def page(request, **kwargs): ...

    class Checkout(FormView): ...

    class Empty(View): ...

    basket = [
        path("", page, name="summary"),
        path("add/<int:pk>/", require_http_methods(("POST",))(page), name="add"),
        path("saved/<deep:where>", require_safe(page)),
        path("head", require_http_methods(["HEAD"])(page)),
    ]

    urlpatterns = [
        path("admin/", admin.site.urls),
        path("basket/", include((basket, "basket"))),
        path("checkout/", Checkout.as_view(), name="checkout"),
        path("old/", RedirectView.as_view(url="/")),
        path("empty/", Empty.as_view()),
        path("partial/", partial(page)),
        path("orders/<uuid:pk>/delete/", DeleteView.as_view()),
        re_path(r"^items/(?P<slug>[\\w-]+)(?:/page/(?P<page>\\d+))?/$", require_GET(page)),
        path("js/", JavaScriptCatalog.as_view()),
        re_path(r"^media/(?P<path>.*)$", serve, {"document_root": "."}),
        *i18n_patterns(path("login/", page), prefix_default_language=False),
    ]
"""

DJANGO_FOUND = {
    "* /basket": "basket.view",
    "POST /basket/add/{pk}": "basket.add",
    "GET /basket/saved/{where:path}": "basket.saved.view",
    "HEAD /basket/head": "basket.head.peek",
    "GET /checkout": "checkout.view",
    "POST /checkout": "checkout.submit",
    "GET /old": "old.view",
    "* /empty": "empty.view",
    "* /partial": "partial.view",
    "GET /orders/{pk}/delete": "orders.delete.view",
    "POST /orders/{pk}/delete": "orders.delete",
    "GET /items/{slug}": "items.view",
    "GET /items/{slug}/page/{page}": "items.view",
    "* /login": "login",
    "* /{language}/login": "login",
}


def test_every_route_of_django_is_covered(
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
) -> None:
    """Includes, classes, decorators, regular expressions, converters and languages are followed."""
    needs("django")
    write("project/settings.py", DJANGO_SETTINGS)
    write("project/urls.py", DJANGO_URLS)
    write(
        "project/wsgi.py",
        """
        import os
        from django.core.wsgi import get_wsgi_application

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        application = get_wsgi_application()
        """,
    )

    found = scaffold("django:project.settings")

    assert found == DJANGO_FOUND
    assert scaffold("django", DJANGO_SETTINGS_MODULE="project.settings") == found
    assert scaffold("project.wsgi:application") == found
    printed = run("scaffold", "django:project.settings")
    assert '# customer = [{ session = "customer_id" }, { user = "pk" }, ' in printed.out
    for line in (
        "#   * /admin/{path:path}",
        "#   GET /js",
        "#   * /media/{path:path}",
        "left out: pages of Django's admin, for staff (1), static files (1), texts for scripts (1)",
    ):
        assert line in printed.out + printed.err
    every = scaffold("django:project.settings", "--all")
    assert every["* /admin/{path:path}"] == "admin.view"


DRF_URLS = """
    from django.urls import include, path
    from rest_framework.decorators import action, api_view
    from rest_framework.routers import DefaultRouter
    from rest_framework.urlpatterns import format_suffix_patterns
    from rest_framework.views import APIView
    from rest_framework.viewsets import ViewSet

    class Orders(ViewSet):
        def list(self, request): ...
        def create(self, request): ...
        def retrieve(self, request, pk): ...
        def partial_update(self, request, pk): ...

        @action(detail=True, methods=["post"])
        def cancel(self, request, pk): ...

    class Basket(APIView):
        def get(self, request): ...
        def post(self, request): ...

    @api_view(["POST"])
    def pay(request): ...

    router = DefaultRouter()
    router.register("orders", Orders, basename="order")

    urlpatterns = [
        path("api/", include(router.urls)),
        *format_suffix_patterns([path("api/basket", Basket.as_view()), path("api/pay/", pay)]),
    ]
"""


def test_every_route_of_django_rest_framework_is_covered(
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
) -> None:
    """Routers, actions, views and functions are followed; suffixes of formats are left out."""
    needs("django", "rest_framework")
    write(
        "project/settings.py", DJANGO_SETTINGS.replace('"django.contrib.admin"', '"rest_framework"')
    )
    write("project/urls.py", DRF_URLS)

    assert scaffold("django:project.settings") == {
        "GET /api/orders": "orders.browse",
        "POST /api/orders": "orders.create",
        "GET /api/orders/{pk}": "orders.view",
        "PATCH /api/orders/{pk}": "orders.change",
        "POST /api/orders/{pk}/cancel": "orders.cancel",
        "GET /api/basket": "basket.view",
        "POST /api/basket": "basket.submit",
        "POST /api/pay": "pay",
    }
    err = run("scaffold", "django:project.settings").err
    assert "the same with a suffix for the format (6)" in err
    assert "documentation of the API (1)" in err


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
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
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
    write: Write, scaffold: Callable[..., dict[str, str]], change: dict[str, Any]
) -> None:
    """Without a plain address the paths stay as they are, and the file names the map."""
    write("openapi.json", json.dumps({**OPENAPI, **change}))

    assert "GET /odd" in scaffold("openapi.json")


def test_openapi_in_yaml_is_read_where_pyyaml_is_there(
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
) -> None:
    """Where it is not, the message says what to do."""
    needs("yaml")
    write("api.yaml", 'openapi: "3.0.3"\npaths:\n  /basket:\n    get: {}\n')

    assert scaffold("api.yaml") == {"GET /basket": "basket.view"}
    write("yaml.py", "raise ImportError\n")
    done = run("scaffold", "api.yaml")
    assert done.code == 2
    assert "to read api.yaml PyYAML is needed; install it, or give the file as JSON" in done.err


SMALL_FLASK = """
    from flask import Flask

    app = Flask("x")

    @app.get("/basket")
    def basket(): ...
"""


def test_several_targets_make_one_map(
    write: Write, scaffold: Callable[..., dict[str, str]], run: Run
) -> None:
    """Names are unique over all of them, and the map is called as the first, or as one says."""
    needs("flask")
    write("web.py", SMALL_FLASK)
    write("openapi.json", json.dumps(OPENAPI))

    found = scaffold("web:app", "openapi.json")

    assert found["GET /basket"] == "basket.view"
    assert found["GET /api/v2/orders/{id}"] == "orders.view"
    assert 'name = "web"' in run("scaffold", "web:app", "openapi.json").out
    assert 'name = "My shop"' in run("scaffold", "web:app", "--name", "My shop").out


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
    assert again.code == 1
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
        (["none.json"], "none.json cannot be read ("),
        (["broken.json"], "broken.json cannot be read ("),
        (["broken.yml"], "broken.yml is no YAML: "),
        (["list.json"], "list.json is no OpenAPI file; give an OpenAPI 3 file"),
        (["swagger.json"], "swagger.json is of Swagger 2; give an OpenAPI 3 file, or convert"),
        (["raising_here:app"], "raising_here could not be imported (RuntimeError: no key); run"),
        (["leaving_here:app"], "leaving_here could not be imported (SystemExit: 3); run this"),
        (["lacking_here:app"], "lacking_here could not be imported (ModuleNotFoundError: "),
        (["raising_later:app"], "raising_later:app could not be imported (ValueError: no); run"),
        (["openapi.json", "-o", "no/folder/map.toml"], "there is no folder no"),
        (["openapi.json", "--name", " "], "--name ' ': write words, such as shop"),
        (["openapi.json", "--name", "a\n"], "--name 'a\\n': write words, such as shop"),
    ],
)
def test_wrong_use_says_what_to_write(
    here: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """What cannot be read is named, with what to write instead, and nothing is printed."""
    if any(name.endswith(".yml") for name in arguments):
        needs("yaml")
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
