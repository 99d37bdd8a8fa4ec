"""The views of the project, its routes, and a middleware that tells how many queries there were."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.auth import authenticate, get_user_model, login
from django.core.exceptions import PermissionDenied
from django.db.backends.signals import connection_created
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import include, path, re_path
from django.utils.decorators import sync_and_async_middleware
from django.views.decorators.csrf import csrf_exempt
from opentelemetry import trace
from rest_framework import routers, viewsets
from rest_framework.exceptions import APIException
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.authentication import (
    JWTAuthentication,
    JWTStatelessUserAuthentication,
)

provider: trace.TracerProvider | None = None
"""Where spans go; by default where all go."""

STEPS: list[str] = []
"""What streams did, for tests in the same process."""

STARTS: list[tuple[str, Any]] = []
"""The spans at a touchpoint, and whose they were when they started."""

QUERIES: list[str] = []
"""Every query so far, in whatever thread."""


@contextmanager
def span(name: str) -> Iterator[None]:
    """A span of another library."""
    tracer = trace.get_tracer("driver", tracer_provider=provider)
    with tracer.start_as_current_span(name) as current:
        found = dict(getattr(current, "attributes", None) or {})
        if "cx.touchpoint.name" in found:
            STARTS.append((name, found.get("enduser.pseudo.id")))
        yield


def _execute(run: Any, sql: str, params: Any, several: bool, context: Any) -> Any:
    QUERIES.append(sql)
    with span(sql.split()[0]):
        return run(sql, params, several, context)


def _watch_queries(connection: Any, **_: Any) -> None:
    if _execute not in connection.execute_wrappers:
        connection.execute_wrappers.append(_execute)


connection_created.connect(_watch_queries)


@sync_and_async_middleware
def count_queries(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Put the number of queries of a request into a header of its answer."""

    def answer(request: HttpRequest) -> Any:
        before = len(QUERIES)
        response = get_response(request)
        response["X-Queries"] = str(len(QUERIES) - before)
        return response

    async def answer_async(request: HttpRequest) -> Any:
        before = len(QUERIES)
        response = await get_response(request)
        response["X-Queries"] = str(len(QUERIES) - before)
        return response

    return answer_async if iscoroutinefunction(get_response) else answer


def forgive(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """A middleware that hides what goes wrong."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        return response if response.status_code < 500 else HttpResponse("never mind")

    return answer


def hello(request: HttpRequest) -> HttpResponse:
    """Nothing but an answer."""
    return HttpResponse("hello", headers={"X-Outcome": request.GET.get("outcome", "fine")})


def item(request: HttpRequest, pk: int) -> HttpResponse:
    """One thing that is for sale."""
    return HttpResponse(f"item {pk}")


def enter(request: HttpRequest) -> HttpResponse:
    """A customer logs in halfway, and a query follows."""
    user = authenticate(request, username=request.POST["name"], password=request.POST["password"])
    login(request, user)
    get_user_model().objects.count()
    return redirect("/me")


def me(request: HttpRequest) -> HttpResponse:
    """Who is asking? Found out in the middle, with a query after it."""
    name = request.user.get_username()
    get_user_model().objects.count()
    return HttpResponse(name or "nobody")


async def me_async(request: HttpRequest) -> HttpResponse:
    """The same for an asynchronous view."""
    user = await request.auser()  # type: ignore[attr-defined]
    with span("after"):
        return HttpResponse(user.get_username() or "nobody")


def visits(request: HttpRequest) -> HttpResponse:
    """A number that the session keeps."""
    request.session["customer_id"] = request.GET.get("is") or request.session.get("customer_id")
    return HttpResponse(str(request.session["customer_id"]))


async def wait(request: HttpRequest) -> HttpResponse:
    """An asynchronous view."""
    await asyncio.sleep(0)
    with span("waited"):
        return HttpResponse("waited")


async def hang(request: HttpRequest) -> HttpResponse:
    """An asynchronous view that never answers."""
    (Path(request.GET["in"]) / "hanging").touch()
    await asyncio.Event().wait()
    return HttpResponse("never")


def chunks(fail: bool = False) -> Iterator[bytes]:
    """Three chunks with a span each, and a last one when it is closed."""
    try:
        for number in range(3):
            STEPS.append(f"chunk {number}")
            with span(f"chunk {number}"):
                yield b"%d " % number
            if fail:
                raise ValueError("half of it")
    finally:
        with span("closed"):
            STEPS.append("closed")


async def chunks_async(fail: bool = False) -> AsyncIterator[bytes]:
    """The same for an asynchronous stream."""
    for number in range(3):
        await asyncio.sleep(0)
        with span(f"chunk {number}"):
            chunk = b"%d " % number
        yield chunk
        if fail:
            raise ValueError("half of it")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A streamed answer."""
    return StreamingHttpResponse(chunks(fail="fail" in request.GET))


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    """An asynchronously streamed answer."""
    return StreamingHttpResponse(chunks_async(fail="fail" in request.GET))


def download(request: HttpRequest) -> FileResponse:
    """A file, which servers may send by themselves."""
    return FileResponse(Path(__file__).with_name("__init__.py").open("rb"))


def boom(request: HttpRequest) -> HttpResponse:
    """An exception that nobody expects, with what a customer typed in it."""
    raise ValueError("4111 1111 1111 1111")


async def boom_async(request: HttpRequest) -> HttpResponse:
    """The same for an asynchronous view."""
    raise ValueError("4111 1111 1111 1111")


def denied(request: HttpRequest) -> HttpResponse:
    """An exception that is an answer."""
    raise PermissionDenied


class Orders(viewsets.ViewSet):
    """What customers have ordered, for holders of a token."""

    authentication_classes = (JWTAuthentication,)
    permission_classes = (IsAuthenticated,)

    def list(self, request: Request) -> Response:
        """All of them, after a query."""
        get_user_model().objects.count()
        return Response(["one"])

    def retrieve(self, request: Request, pk: str) -> Response:
        """One that is not there."""
        raise APIException("out of order")


class Stateless(Orders):
    """The same for holders of a token of another service."""

    authentication_classes = (JWTStatelessUserAuthentication,)

    def list(self, request: Request) -> Response:
        """All of them."""
        return Response([request.user.pk])


router = routers.SimpleRouter()
router.register("orders", Orders, basename="orders")
router.register("elsewhere", Stateless, basename="elsewhere")

urlpatterns = [
    path("hello", hello),
    path("items/special", hello),
    path("items/<int:pk>/", item),
    re_path(r"^old/(?P<pk>[0-9]+)/$", item),
    path("login", csrf_exempt(enter)),
    path("me", me),
    path("me-async", me_async),
    path("visits", visits),
    path("wait", wait),
    path("hang", hang),
    path("stream", stream),
    path("stream-async", stream_async),
    path("download", download),
    path("boom", boom),
    path("boom-async", boom_async),
    path("denied", denied),
    path("away", lambda request: redirect("/checkout/thank-you?order=7")),
    path("api/", include(router.urls)),
]
