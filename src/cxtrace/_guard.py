"""Run our own code so that it can never break the host: swallow, count, log once."""

import logging
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from cxtrace._locks import Locks

_logger = logging.getLogger("cxtrace")
_locks = Locks()
_counts: dict[str, int] = {}
_said: set[str] = set()
_said_of: dict[str, int] = {}
_begins: list[Callable[[], None]] = []
_owners: dict[int, tuple["weakref.ref[Any]", Callable[[Any], None]]] = {}

_MODULE: Final[Any] = vars(type)["__module__"]
_QUALNAME: Final[Any] = vars(type)["__qualname__"]
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]
"""How Python itself reads them, whatever the class of an error makes of these names."""

MAX_WARNINGS = 1_000
"""Distinct warnings remembered; past it nothing new is logged, only counted."""

MOST_OF_A_KIND = 100
"""So many of them may differ after the first colon of their key alone: they silence no others."""


def count(what: str, amount: int = 1) -> None:
    """Add to the counter that ``cxtrace.report()`` shows under ``what``."""
    with _locks.lock:
        _counts[what] = _counts.get(what, 0) + amount


def counts() -> dict[str, int]:
    """A copy of all counters."""
    with _locks.lock:
        return dict(_counts)


def warn_once(key: str, message: str, *args: object) -> None:
    """Log a warning the first time that ``key`` comes by."""
    with _locks.lock:
        if not would_warn(key):
            return
        _said.add(key)
        kind = _kind(key)
        _said_of[kind] = _said_of.get(kind, 0) + 1
    say(logging.WARNING, message, *args)


def would_warn(key: str) -> bool:
    """Whether ``warn_once`` would log anything, for those whose words cost something."""
    if key in _said or len(_said) >= MAX_WARNINGS:
        return False
    return _said_of.get(_kind(key), 0) < MOST_OF_A_KIND


def _kind(key: str) -> str:
    return key.partition(":")[0]


def say(level: int, message: str, *args: object) -> None:
    """Log a line; a filter or a handler of the host may raise."""
    try:
        _logger.log(level, message, *args)
    except Exception:  # noqa: BLE001
        count("errors.logging")


def swallow(where: str, error: BaseException) -> None:
    """Count an error of ours and name it once in the log, without its text.

    The text of an exception can hold what a customer typed; its class and place cannot.
    """
    count(f"errors.{where}")
    traceback = _TRACEBACK.__get__(error)
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    place = (
        "an unknown place"
        if traceback is None
        else f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
    )
    warn_once(
        f"swallowed.{where}:{place}",
        "cxtrace swallowed a %s in %s (%s); the service was not affected",
        _QUALNAME.__get__(type(error)),
        where,
        place,
    )


def attempt(where: str, call: Callable[[], object]) -> bool:
    """Whether a call into the code of others neither raised nor said no."""
    try:
        return call() is not False
    except Exception as error:  # noqa: BLE001
        swallow(where, error)
        return False


def class_name(kind: type) -> str:
    """Module and name of a class; what is built in has no module."""
    name: str = _QUALNAME.__get__(kind)
    try:
        module = _MODULE.__get__(kind)
    except AttributeError:  # somebody has deleted it
        module = None
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def reset() -> None:
    """Forget all counters and warnings. For tests and for a forked child."""
    with _locks.lock:
        _counts.clear()
        _said.clear()
        _said_of.clear()


def in_child(work: Callable[[], None]) -> None:
    """Let every child that is forked from now on begin with ``work``."""
    _begins.append(work)
    with suppress(AttributeError):  # Windows has no fork
        os.register_at_fork(after_in_child=work)


def begin_child() -> None:
    """Begin as a forked child does, where whoever has forked did not tell Python."""
    for work in _begins:
        try:
            work()
        except Exception as error:  # noqa: BLE001
            swallow("fork", error)


def in_child_of(owner: Any, work: Callable[[Any], None]) -> None:
    """Let every forked child begin with ``work(owner)``, as long as somebody has the owner."""
    if _begin_owners not in _begins:
        in_child(_begin_owners)
    # Bound here: at the end of the process there may be no module any more.
    key, forget = id(owner), _owners.pop
    _owners[key] = weakref.ref(owner, lambda _: forget(key, None)), work


def _begin_owners() -> None:
    for kept, work in [*_owners.values()]:
        owner = kept()
        if owner is not None:
            attempt("fork", partial(work, owner))


def after_fork() -> None:
    """Start a child with a lock of its own: the parent may have held this one."""
    global _locks  # noqa: PLW0603
    _locks = Locks()
    reset()
