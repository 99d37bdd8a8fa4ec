"""The shop as it runs: its database, its two workers, and what stands in its tables afterwards."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..installed import HERE, Installed, once, run
from ..running import Platform

HOME = Path(__file__).parent
DATABASE = "db.sqlite3"


def environment(installed: Installed, data: Path) -> dict[str, str]:
    """What the shop's own programs need."""
    return {
        "PATH": str(installed.bin),
        "PYTHONPATH": str(HERE),
        "DJANGO_SETTINGS_MODULE": "frobshop.settings",
        "FROBSHOP_DATA": str(data),
    }


def prepared(installed: Installed) -> Path:
    """The data of a shop that nobody has been to; made once, for to migrate takes a while."""
    sources = (HOME / "settings.py").read_bytes() + (HOME / "seed.py").read_bytes()
    folder = installed.folder / f"frobshop-{sha256(sources).hexdigest()[:12]}"
    with once(folder) as missing:
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            variables = environment(installed, folder)
            run(installed.bin / "django-admin", "migrate", env=variables)
            run(installed.bin / "python", "-m", "frobshop.seed", env=variables)
    return folder


@contextmanager
def opened(
    platform: Platform, service: str, map_: Path, folder: Path, **more: str
) -> Iterator[str]:
    """Its address, while the shop is open: gunicorn with two workers, and fresh data."""
    shutil.copytree(prepared(platform.installed), folder, symlinks=True, dirs_exist_ok=True)
    variables = environment(platform.installed, folder)
    del variables["PATH"], variables["PYTHONPATH"]
    with platform.serve(
        *("gunicorn", "--workers=2", "--bind=127.0.0.1:{port}", "--no-control-socket"),
        "django.core.wsgi:get_wsgi_application()",
        folder=folder,
        environment=platform.environment(service, map_, **variables, **more),
        ready="/offers/",
    ) as url:
        yield url


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in the shop's own tables."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        return connection.execute(query).fetchall()
