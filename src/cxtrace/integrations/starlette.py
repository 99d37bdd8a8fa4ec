"""FastAPI and Starlette without OpenTelemetry's instrumentation: our middleware in every app.

With one line of code: ``app.add_middleware(CXMiddleware)``, as for all of ASGI.
"""

from types import ModuleType
from typing import Any

import wrapt

from cxtrace.integrations.asgi import CXMiddleware

__all__ = ["CXMiddleware"]


def instrument(module: ModuleType) -> None:
    """Stand inside of the error handling of every application.

    Args:
        module: ``starlette.applications`` or ``fastapi.applications``.
    """
    for name in ("FastAPI", "Starlette"):
        found = vars(module).get(name)
        if found is not None and found.__module__ == module.__name__:
            wrapt.wrap_function_wrapper(module, f"{name}.build_middleware_stack", _build)


def _build(original: Any, app: Any, args: Any, kwargs: Any) -> Any:
    stack = original(*args, **kwargs)
    # There, the middleware of OpenTelemetry has ours inside.
    if not _is_instrumented(app) and hasattr(stack, "app"):
        stack.app = CXMiddleware(stack.app)
    return stack


def _is_instrumented(app: Any) -> bool:
    return getattr(app, "_is_instrumented_by_opentelemetry", False) or any(
        getattr(each.cls, "__name__", "") == "OpenTelemetryMiddleware"
        for each in app.user_middleware
    )
