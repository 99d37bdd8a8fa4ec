"""The installed version, read when first asked for: reading it costs more than importing us."""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


@lru_cache(maxsize=1)
def version() -> str:
    """Version of the installed distribution, or ``0`` where it is not installed."""
    try:
        return installed("cxtrace")
    except PackageNotFoundError:
        return "0"
