"""Where keys come from, and the file of keys that is read again while the service runs."""

import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from cxtrace import _clock, _guard
from cxtrace._keys import Key, KeyGiven, KeyRing, Keys, bare, checked, keys_in, read_keys
from cxtrace._process import shielded
from cxtrace.exceptions import ConfigurationError

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at a file of keys that is in use."""

LEAD: Final = 2 * LOOK_EVERY
"""Seconds for which a new key is believed before it makes anything.

By then all processes that share the file believe it too.
"""

_AGAIN: Final = 0.25
"""Seconds between two looks where somebody uses a key that is not known."""

_PATIENCE: Final = 0.05
"""Seconds that a request waits for the file, at most."""

_SETTLES: Final = 0.02
"""Seconds for which a file must stay as it is to be believed."""

_MAX_BYTES: Final = 65_536


def load_keys(given: KeyGiven | None, environ: Mapping[str, str]) -> Keys | None:
    """The keys from the argument, else ``CXTRACE_KEY``, else the file ``CXTRACE_KEY_FILE`` names.

    Raises:
        ConfigurationError: A key is too short, or its file cannot be read.
    """
    if given is None:
        given = environ.get("CXTRACE_KEY") or None
    path = environ.get("CXTRACE_KEY_FILE")
    if given is None:
        return KeyFile(Path(path)) if path else None
    found = checked(read_keys(given))
    return found[0] if len(found) == 1 else KeyRing(found)


class KeyFile(KeyRing):
    """The keys of a file, which is looked at every five seconds while they are in use.

    A new key that stands first is believed at once, and makes what is new ten seconds later. If
    the key that it follows is gone, it does so at once. A file that cannot be read, or is wrong,
    changes nothing: it is counted, and said in the log.

    Args:
        path: The file. Replace it by renaming another, so that nobody reads the half of it.

    Attributes:
        fault: What is wrong with the file as it is now, or None. Shows nothing of a key.

    Raises:
        ConfigurationError: The file cannot be read now, or is wrong.
    """

    __slots__ = (
        "_again_at", "_found", "_look", "_look_at", "_mark", "_path", "_turn", "_waits", "fault",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # the process may change its folder
        self.fault: str | None = None
        self._keys: tuple[Key, ...] = ()
        try:
            self._mark, found = _first(path)
            super().__init__(found)
        except ConfigurationError as error:
            raise bare(error) from None
        self._waits: tuple[tuple[Key, ...], float] | None = None
        self._look_at = _clock.steady() + LOOK_EVERY
        self._again_at = 0.0
        self._begin()
        _guard.in_child_of(self, KeyFile._begin)

    def _begin(self) -> None:
        """Begin to look, in this process; the parent of a forked one may have been looking."""
        self._found: tuple[bytes, bytes] | None = None
        self._turn = threading.Lock()
        self._look: threading.Thread | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that are believed now; the first makes what is new."""
        if _clock.steady() >= self._look_at:
            self._take_turn()
        return self._keys

    def refreshed(self) -> bool:
        """Look at the file now, where somebody used a key that is not known, if not just done."""
        now, before = _clock.steady(), self._keys
        if now < self._again_at:
            return False
        self._again_at = now + _AGAIN
        self._take_turn()
        return self._keys is not before

    def _take_turn(self) -> None:
        if not self._turn.acquire(blocking=False):
            return  # somebody else is looking; until then the keys are good as they are
        try:
            self._look_at = _clock.steady() + LOOK_EVERY
            self._look_within(_PATIENCE)
            self._take()
        except Exception as error:  # noqa: BLE001
            _guard.swallow("keys", error)
        finally:
            self._turn.release()

    def _look_within(self, seconds: float) -> None:
        """Look in a thread: a file system that hangs holds up no request for longer."""
        look = self._look
        if look is None or not look.is_alive():
            look = threading.Thread(target=self._read, name="cxtrace_keys", daemon=True)
            self._look = look
            with shielded():
                look.start()
            look.join(seconds)
        if look.is_alive():  # who has waited for it has waited for all
            self._refuse("it does not answer")

    def _read(self) -> None:
        try:
            content = _content(self._path)
            mark = _mark(content)
            if mark != self._mark:
                threading.Event().wait(_SETTLES)
                if _mark(_content(self._path)) != mark:
                    return  # somebody is writing it
            self._found = mark, content
        except OSError as error:
            self._refuse(f"it cannot be read: {error.strerror}")
        except ConfigurationError as error:
            self._refuse(str(error))

    def _take(self) -> None:
        """Put in force what was read, and what has waited for its time."""
        found, self._found = self._found, None
        if found is not None:
            mark, content = found
            try:
                if mark != self._mark:
                    self._adopt(checked(keys_in(content)))
                    self._mark = mark
                self.fault = None
            except ConfigurationError as error:
                self._refuse(str(error))
        if self._waits is not None:
            keys, since = self._waits
            if _clock.steady() >= since:
                self._keys, self._waits = keys, None
            else:
                self._look_at = min(self._look_at, since)

    def _adopt(self, keys: tuple[Key, ...]) -> None:
        known = {key.key_id: key.fingerprint for key in self._keys}
        if any(known.get(key.key_id, key.fingerprint) != key.fingerprint for key in keys):
            raise ConfigurationError("an id stands for another key than before; give it another id")
        makes = self._keys[0].key_id
        stays = [key for key in keys if key.key_id == makes]
        if not stays or keys[0].key_id == makes:
            self._keys, self._waits = keys, None
            return
        others = [key for key in keys if key.key_id != makes]
        self._keys = (*stays, *others)
        self._waits = keys, _clock.steady() + LEAD

    def _refuse(self, why: str) -> None:
        self.fault = why
        _guard.count("keys.file_refused")
        _guard.warn_once(
            f"keys.file_refused:{why}",
            "cxtrace: the file of keys has changed, and is not used as it is now: %s. The keys "
            "from before stay in force",
            why,
        )


def _first(path: Path) -> tuple[bytes, tuple[Key, ...]]:
    """The mark and the keys of a file that is read for the first time."""
    try:
        content = _content(path)
    except OSError as error:
        raise ConfigurationError(
            f"the file of keys {str(path)!r} cannot be read: {error.strerror}"
        ) from None
    except ValueError:  # such as one with a NUL
        raise ConfigurationError(f"the file of keys {str(path)!r} is no path") from None
    return _mark(content), keys_in(content)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"the file of keys has more than {_MAX_BYTES} bytes")
    return content


def _mark(content: bytes) -> bytes:
    return sha256(content).digest()
