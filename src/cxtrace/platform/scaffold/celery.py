"""Tasks of Celery."""

from collections.abc import Iterator
from typing import Any

from cxtrace.platform.scaffold.facts import Follow, Found


def read(app: Any, _prefix: str, _follow: Follow) -> Iterator[Found]:
    """The tasks of an application, those of the modules that its worker imports included."""
    app.loader.import_default_modules()
    for name in sorted(app.tasks):
        own = "tasks of Celery itself" if name.startswith("celery.") else ""
        yield Found("task", (name,), hint=name, technical=own)
