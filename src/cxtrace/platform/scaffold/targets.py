"""From what is written on the command line to an application and what is in it."""

import contextlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs

from cxtrace.platform.scaffold import celery, django, flask, openapi, starlette
from cxtrace.platform.scaffold.facts import Found, ScaffoldError, is_a, qualified, route

_READERS: Final = (
    ("starlette", ("Starlette", "Router"), "Starlette", starlette.read),
    ("starlette", ("StaticFiles",), "Starlette", starlette.read_static),
    ("flask", ("Flask",), "Flask", flask.read),
    ("werkzeug", ("DispatcherMiddleware",), "Werkzeug", flask.read_dispatcher),
    ("celery", ("Celery",), "Celery", celery.read),
    ("django", ("BaseHandler",), "Django", django.read),
)
"""Package and classes of an application, what people call it, and what reads it."""

_INNER: Final = ("app", "application", "other_asgi_app", "wsgi_app")
"""Where middleware keeps the application that it wraps."""
_DEEPEST: Final = 20

_APPLICATIONS: Final = ("app", "application")
_FACTORIES: Final = ("create_app", "make_app", "build_app", "get_app", "create_application")
"""What functions that make an application are called."""

_FORMS: Final = "write module:object such as shop.main:app, django:project.settings, or a file"
_OBJECT: Final = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<object>\w+(?:\.\w+)*)(?P<call>\(\))?")


@attrs.frozen
class Application:
    """What was read of one target."""

    target: str
    name: str
    """What to call it in a map."""
    kind: str
    """Its framework."""
    found: tuple[Found, ...]


def read(target: str) -> Application:
    """Read an application; it is imported as a server would do, and not run.

    Args:
        target: ``module:object``, ``django:settings``, ``django``, or a path.

    Raises:
        ScaffoldError: It cannot be read.
    """
    if target.endswith(openapi.SUFFIXES):
        document = openapi.load(Path(target))
        name = openapi.title(document) or Path(target).stem
        return Application(target, name, "OpenAPI", tuple(openapi.read(document)))
    with _as_a_server():
        if target == "django" or target.startswith("django:"):
            return _django(target)
        return _python(target)


def _django(target: str) -> Application:
    settings = target.partition(":")[2]
    _guarded(target, lambda: django.set_up(settings))
    name = os.environ[django.VARIABLE].partition(".")[0]
    found = _guarded(target, lambda: tuple(django.read(None, "", follow)))
    return Application(target, name, "Django", found)


def _python(target: str) -> Application:
    written = _OBJECT.fullmatch(target)
    if written is None:
        near = re.fullmatch(r"(?:\./)?([\w/]+)\.py(?::(\w+))?", target)
        meant = f"{near[1].replace('/', '.')}:{near[2] or 'app'}" if near else ""
        advice = f"did you mean {meant}?" if near else _FORMS
        raise ScaffoldError(f"{target!r} is no application; {advice}")
    app = _named(_imported(written["module"]), written["object"])
    if written["call"] or not _kind(app):
        app = _called(target, app)
    kind = _kind(app)
    if not kind:
        readable = "FastAPI, Starlette, Flask, Django or Celery"
        message = f"{target} is of {qualified(type(app))}; name an application of {readable}"
        raise ScaffoldError(f"{message}, or its OpenAPI file")
    found = _guarded(target, lambda: tuple(follow(app, "")))
    return Application(target, written["module"].partition(".")[0], kind, found)


@contextlib.contextmanager
def _as_a_server() -> Iterator[None]:
    """The current folder can be imported from, and what an import prints is not taken for a map."""
    before = sys.path.copy()
    sys.path.insert(0, str(Path.cwd()))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:] = before


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    """The result of code of the application, whatever it raises."""
    try:
        return call()
    except ScaffoldError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        advice = "run this with the Python, the folder and the variables that its server has"
        raise ScaffoldError(f"{what} could not be imported ({reason}); {advice}") from error


def _imported(module: str) -> Any:
    try:
        return _guarded(module, lambda: import_module(module))
    except ScaffoldError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            advice = "run this in the folder of the application, or check the name"
            raise ScaffoldError(f"there is no module {missing!r}; {advice}") from error
        raise


def _named(module: Any, path: str) -> Any:
    thing = module
    for name in path.split("."):
        if not hasattr(thing, name):
            meant = _meant(module, thing, name)
            advice = f"did you mean {meant}?" if meant else "check the name"
            raise ScaffoldError(f"{module.__name__} has no {path!r}; {advice}")
        thing = getattr(thing, name)
    return thing


def _meant(module: Any, thing: Any, name: str) -> str:
    """What may have been meant by a name that is not there; empty where nothing is like it."""
    near = get_close_matches(name, dir(thing), n=1)
    made = [each for each in _FACTORIES if inspect.isroutine(getattr(module, each, None))]
    if made and (name in _APPLICATIONS or not near):
        return f"{module.__name__}:{made[0]}()"
    return near[0] if near else ""


def _called(target: str, factory: Any) -> Any:
    """What a factory makes; what is none stays as it is."""
    if not (inspect.isroutine(factory) or inspect.isclass(factory)):
        return factory
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        message = f"{target} cannot be called without arguments ({error})"
        raise ScaffoldError(f"{message}; name an application that is made already") from error
    return _guarded(target, factory)


def _kind(app: Any) -> str:
    found = _unwrapped(app)
    return _label(found[0], found[1]) if found else ""


def _label(app: Any, kind: str) -> str:
    return "FastAPI" if is_a(app, "fastapi", "FastAPI", "APIRouter") else kind


def _unwrapped(app: Any) -> tuple[Any, str, Any] | None:
    """The application in its middleware, what it is called, and what reads it."""
    for _ in range(_DEEPEST):
        for package, names, kind, reader in _READERS:
            if is_a(app, package, *names):
                return app, kind, reader
        inner = (getattr(app, name, None) for name in _INNER)
        app = next((each for each in inner if each is not None), None)
    return None


def follow(app: Any, prefix: str) -> Iterator[Found]:
    """What is in an application that is mounted below a prefix; all of it, where none can tell."""
    found = _unwrapped(app)
    if found is None:
        yield route("*", prefix + "/{path:path}", hint=qualified(app))
    else:
        inner, _, reader = found
        yield from reader(inner, prefix, follow)
