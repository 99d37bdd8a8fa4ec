"""Flask: a request that the journey map knows becomes its touchpoint.

The touchpoint is the server's own span where OpenTelemetry's instrumentation has made one, and a
span of its own else. It begins before the application's own ``before_request`` functions, and ends
after its ``teardown_request`` functions.
"""

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry.context import Context, attach, get_current

from cxtrace import _guard
from cxtrace._visit import Visit
from cxtrace.binding import Bindings, bindings
from cxtrace.integrations import _http
from cxtrace.integrations.wsgi import GETTER, WSGIRequest, path

if TYPE_CHECKING:
    import flask

__all__ = ["instrument_app"]

_OPENTELEMETRY: Final = "opentelemetry.instrumentation.flask"
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400
_NAME: Final = "cxtrace"
_ARRIVAL: Final = "_cxtrace_arrival"

_joining = threading.Lock()


def instrument_app(app: "flask.Flask") -> None:
    """Make a touchpoint of each request that the journey map binds by ``match = { route = … }``.

    With ``opentelemetry-instrument`` or ``cxtrace run`` it is not needed. It does nothing a second
    time, and it does not matter whether OpenTelemetry's ``FlaskInstrumentor`` comes before it or
    after.

    Args:
        app: The application, before its first request.
    """
    if app.extensions.setdefault(_NAME, False) is False:
        _wrap(app, "")


def instrument(module: ModuleType) -> None:
    """Do the same for every application there is and will be.

    Args:
        module: ``flask.app``.
    """
    _wrap(module, "Flask.")


def _wrap(owner: object, prefix: str) -> None:
    wrapt.wrap_function_wrapper(owner, f"{prefix}preprocess_request", _preprocess)
    wrapt.wrap_function_wrapper(owner, f"{prefix}process_response", _process)


def _preprocess(original: Callable[..., Any], app: Any, args: Any, kwargs: Any) -> Any:
    if app.extensions.get(_NAME) is not True:
        _join(app)
    try:
        return original(*args, **kwargs)
    finally:
        # The view may be about to forget it: who logs out is a customer still.
        _tell(_Arrival.learn)


def _process(original: Callable[..., Any], _app: Any, args: Any, kwargs: Any) -> Any:
    _tell(_Arrival.learn)
    response = original(*args, **kwargs)
    _tell(_Arrival.answer, response)
    return response


def _tell(what: Callable[..., None], *about: Any) -> None:
    try:
        arrival = vars(_request_context()).get(_ARRIVAL)
        if arrival is not None:
            what(arrival, *about)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("flask", error)


def _join(app: Any) -> None:
    """Take our place among the application's functions: inside of OpenTelemetry's, outside of all.

    Functions are called in order at the beginning of a request, and in reverse at its end.
    """
    try:
        with _joining:
            if app.extensions.get(_NAME) is not True:
                _insert(app.before_request_funcs, _open)
                _insert(app.teardown_request_funcs, _close)
                app.extensions[_NAME] = True
    except Exception as error:  # noqa: BLE001
        _guard.swallow("flask.join", error)


def _insert(functions: dict[Any, list[Any]], ours: Callable[..., None]) -> None:
    present = functions.get(None, [])
    theirs = [getattr(function, "__module__", "") == _OPENTELEMETRY for function in present]
    at = len(theirs) - theirs[::-1].index(True) if True in theirs else 0
    # A new list: requests of other threads may be walking through the old one.
    functions[None] = [*present[:at], ours, *present[at:]]


def _after_fork() -> None:
    global _joining  # noqa: PLW0603
    _joining = threading.Lock()


_guard.in_child(_after_fork)


class _Arrival:
    """One request that is open, and what was current before it."""

    __slots__ = ("_answer", "_before", "_error", "_outer", "_visit", "has_ended")

    def __init__(self, visit: Visit | None, before: Context) -> None:
        self._visit = visit
        self._before = before
        self._outer = _newest.get()
        self._answer: Any = None
        self._error: BaseException | None = None
        self.has_ended = False

    def learn(self) -> None:
        """Ask who the customer is, as far as the application knows by now."""
        if self._visit is not None:
            self._visit.learn()

    def answer(self, response: Any) -> None:
        """Remember what is answered, and for which exception Flask answers so."""
        self._answer = response
        if response.status_code >= _SERVER_ERROR:
            self._error = sys.exc_info()[1]

    def end(self, error: BaseException | None) -> None:
        """End the touchpoint. An exception that came after the answer says more than that."""
        self.has_ended = True
        if self._visit is not None:
            answer = self._answer
            if answer is not None and (error is None or error is self._error):
                self._visit.answer(answer.status_code, answer.headers.get, self._error)
            self._visit.leave(error)
        self._error = None  # it refers to the frames that refer to us

    def restore(self) -> "_Arrival | None":
        """Make current what was so before, and give what had arrived before."""
        if get_current() is not self._before:
            attach(self._before)
        _newest.set(self._outer)
        return self._outer


_newest: ContextVar[_Arrival | None] = ContextVar("cxtrace-flask", default=None)


def _open() -> None:
    try:
        known = bindings()
        if known is not None:
            _clean_up()
            _arrive(known)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("flask.open", error)


def _arrive(known: Bindings) -> None:
    context = _request_context()
    request = context.request
    refusal = request.routing_exception
    # A slash is missing, and the customer is about to come again.
    is_sent_on = refusal is not None and (refusal.code or _CLIENT_ERROR) < _CLIENT_ERROR
    if is_sent_on or _ARRIVAL in vars(context):
        return
    before = get_current()
    _http.go_on_from(request.environ, GETTER)
    visit = known.route(
        _FlaskRequest(context),
        request.method,
        path(request.environ),
        lambda: None if request.url_rule is None else request.url_rule.rule,
    )
    arrival = _Arrival(visit, before)
    # Not in the environ or the request: copies of the context, which end too, share them.
    setattr(context, _ARRIVAL, arrival)
    _newest.set(arrival)


def _close(error: BaseException | None = None) -> None:
    try:
        context = _request_context()
        arrival = vars(context).pop(_ARRIVAL, None)
        if arrival is not None:
            is_unread = isinstance(error, GeneratorExit) and context.request.method == "HEAD"
            arrival.end(None if is_unread else error)
            _clean_up()
    except Exception as failure:  # noqa: BLE001
        _guard.swallow("flask.close", failure)


def _clean_up() -> None:
    """Leave nothing here of requests that have ended, be it in another thread."""
    arrival = _newest.get()
    while arrival is not None and arrival.has_ended:
        arrival = arrival.restore()


def _request_context() -> Any:
    from flask import globals as current

    proxy: Any = current.request_ctx
    return proxy._get_current_object()  # noqa: SLF001  Werkzeug's documented way to the object


class _FlaskRequest(WSGIRequest):
    """Answers the rules of the map out of what the application has loaded, and loads nothing."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        super().__init__(context.request.environ)
        self._context = context

    def cookie(self, name: str) -> str | None:
        """The first of that name, as Werkzeug takes it."""
        return _http.first(_http.cookies(self.header("cookie"), name))

    def query(self, name: str) -> str | None:
        """The first of that name, as Werkzeug takes it."""
        text = self._context.request.environ.get("QUERY_STRING", "")
        return _http.first(_http.parameters(text, name))

    def session(self, name: str) -> object:
        """A value in Flask's session, where the application has looked into it.

        To look into one that it has not would add ``Vary: Cookie`` to the answer.
        """
        held = vars(self._context)
        session = held.get("_session", held.get("session"))
        return session.get(name) if session is not None and session.accessed else None

    def user(self, name: str) -> object:
        """An attribute of Flask-Login's user, of ``g.user``, or of the server's."""
        from flask import g
        from werkzeug.local import LocalProxy

        user = g.get("_login_user")
        user = g.get("user") if user is None else user
        if user is None or type(user) is LocalProxy:  # which would load the user
            return super().user(name)
        return _attribute(user, name)

    def claim(self, name: str) -> object:
        """A claim of Flask-JWT-Extended's token, of ``g.claims``, or of the server's."""
        from flask import g

        claims = g.get("_jwt_extended_jwt") or g.get("claims")
        return _http.claim(claims, name) if claims else super().claim(name)


def _attribute(user: Any, name: str) -> object:
    if hasattr(type(user), "keys") and hasattr(type(user), "__getitem__"):  # a row of sqlite3
        return user[name] if name in user.keys() else None  # noqa: SIM118
    state = getattr(user, "_sa_instance_state", None)
    if state is not None and name in state.unloaded:  # after a commit, to read would be a query
        keys = [column.key for column in state.mapper.primary_key]
        return dict(zip(keys, state.identity or (), strict=False)).get(name)
    return _http.attribute(user, name)
