"""Whose a spool is: what another user makes there is of no use to the service, or in its way."""

import os
from pathlib import Path
from typing import Final

_SYSTEM: Final = 0
_SIGNALS: Final = ("spans", "logs")


def existing(folder: Path) -> list[Path]:
    """The folder of a spool, then those of its signals, as far as they exist."""
    every = (folder, *(folder / name for name in _SIGNALS))
    return [each for each in every if _owner(each) is not None]


def user() -> int:
    """The user of this process."""
    return getattr(os, "geteuid", lambda: 0)()


def stranger(folder: Path) -> int | None:
    """The user whose the spool is, if that is another; whose it would be, where it is not there."""
    here = [found for each in existing(folder) if (found := _owner(each)) is not None]
    above = (_owner(each) for each in folder.absolute().parents)
    near = [next(found for found in above if found is not None)]
    # Folders of the system hold everybody's.
    whose = here or [found for found in near if found != _SYSTEM]
    return next((found for found in whose if found != user()), None)


def _owner(path: Path) -> int | None:
    """The user whose it is; None where it is not there, or cannot be looked at."""
    try:
        return path.stat().st_uid
    except OSError:
        return None
