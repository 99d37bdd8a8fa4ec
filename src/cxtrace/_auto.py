"""Every integration at once: what a journey map that has rules for requests asks for.

An integration is imported when the framework is, and not before.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Final

from cxtrace import _guard

INTEGRATIONS: Final = {
    "opentelemetry.instrumentation.asgi": "asgi",
    "opentelemetry.instrumentation.celery": "celery",
    "opentelemetry.instrumentation.wsgi": "wsgi",
    "celery.app.trace": "celery",
    "django.core.handlers.base": "django",
    "fastapi.applications": "starlette",
    "flask.app": "flask",
    "grpc": "grpc",
    "pika.adapters.blocking_connection": "messages",
    "starlette.applications": "starlette",
}
"""Which integration to call once a module has been imported."""

_hooked = False


def instrument() -> None:
    """Bind the requests of every framework that is in use, now or when it is imported.

    Does nothing a second time. Never raises.
    """
    global _hooked  # noqa: PLW0603
    if _hooked:
        return
    _hooked = True
    import wrapt  # only for those whose map binds requests

    for module, integration in INTEGRATIONS.items():
        wrapt.register_post_import_hook(_hook(integration), module)


def _hook(integration: str) -> Callable[[ModuleType], None]:
    def imported(module: ModuleType) -> None:
        try:
            ours = importlib.import_module(f"cxtrace.integrations.{integration}")
            ours.instrument(module)
        except Exception as error:  # noqa: BLE001
            _guard.swallow(f"instrument.{integration}", error)

    return imported
