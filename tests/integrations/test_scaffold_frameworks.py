"""``cxtrace scaffold`` reads real applications and writes maps that ``cxtrace check`` passes."""

import json

import pytest

from tests.scaffolds import Run, Scaffold, Write

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
    write: Write, scaffold: Scaffold, run: Run
) -> None:
    """Routers, mounts, hosts, web sockets, endpoint classes and middleware are followed."""
    pytest.importorskip("fastapi")
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


def test_every_route_of_flask_is_covered(write: Write, scaffold: Scaffold) -> None:
    """Blueprints, converters, classes and dispatched applications are followed."""
    pytest.importorskip("flask")
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


def test_every_task_of_celery_is_covered(write: Write, scaffold: Scaffold, run: Run) -> None:
    """Tasks of imported modules and shared tasks are found; upkeep and Celery's are left out."""
    pytest.importorskip("celery")
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


def test_every_route_of_django_is_covered(write: Write, scaffold: Scaffold, run: Run) -> None:
    """Includes, classes, decorators, regular expressions, converters and languages are followed."""
    pytest.importorskip("django")
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
    write: Write, scaffold: Scaffold, run: Run
) -> None:
    """Routers, actions, views and functions are followed; suffixes of formats are left out."""
    pytest.importorskip("django")
    pytest.importorskip("rest_framework")
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


SMALL_FLASK = """
    from flask import Flask

    app = Flask("x")

    @app.get("/basket")
    def basket(): ...
"""


def test_several_targets_make_one_map(write: Write, scaffold: Scaffold, run: Run) -> None:
    """Names are unique over all of them, and the map is called as the first, or as one says."""
    pytest.importorskip("flask")
    write("web.py", SMALL_FLASK)
    document = {"openapi": "3.1.0", "paths": {"/orders/{id}": {"get": {}}}}
    write("openapi.json", json.dumps(document))

    found = scaffold("web:app", "openapi.json")

    assert found["GET /basket"] == "basket.view"
    assert found["GET /orders/{id}"] == "orders.view"
    assert 'name = "web"' in run("scaffold", "web:app", "openapi.json").out
    assert 'name = "My shop"' in run("scaffold", "web:app", "--name", "My shop").out
