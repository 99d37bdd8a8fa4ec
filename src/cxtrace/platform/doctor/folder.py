"""Checks of the spool: can the folder be used, does it last, and is it full or forgotten."""

import os
import stat
from pathlib import Path
from typing import Final

from cxtrace.platform.doctor.subject import (
    Finding,
    Findings,
    SpoolSettings,
    Subject,
    plural,
)
from cxtrace.spool import Spool

_MOUNTS: Final = Path("/proc/self/mountinfo")
_VOLATILE: Final = ("tmpfs", "ramfs")
_NETWORK: Final = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "beegfs", "ocfs2", "gfs2"),
)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MOST: Final = 0.9
_OLD: Final = 0.5


def spool(subject: Subject) -> Findings:
    """Whether the spool can hold what cannot be sent."""
    if subject.spool is None:
        return
    folder = Path(subject.spool.folder)
    try:
        found = folder.stat()
    except FileNotFoundError:
        yield from _makeable(folder)
        return
    except OSError as error:
        yield _unusable(folder, f"cannot be looked at: {error.strerror}")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield _unusable(folder, "is no folder")
        return
    needed = {"read": os.R_OK, "written": os.W_OK, "entered": os.X_OK}
    lacking = [word for word, mode in needed.items() if not os.access(folder, mode)]
    if lacking:
        yield _unusable(folder, f"cannot be {' or '.join(lacking)} by this user")
        return
    yield from _private(folder, found)
    yield from _lasting(folder)
    yield from _level(folder, subject.spool)


def _makeable(folder: Path) -> Findings:
    parent = next(each for each in folder.absolute().parents if each.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        yield _unusable(folder, f"is not there, and cannot be made in {parent}")


def _unusable(folder: Path, why: str) -> Finding:
    return Finding(
        "spool-unusable",
        "error",
        f"The spool {folder} {why}: what cannot be sent is lost.",
        "Give this service's user a folder of its own, with mode 0700, or another CXTRACE_SPOOL.",
    )


def _private(folder: Path, found: os.stat_result) -> Findings:
    user = getattr(os, "geteuid", lambda: found.st_uid)()
    if found.st_uid != user:
        yield Finding(
            "spool-owner",
            "warning",
            f"The spool {folder} belongs to another user ({found.st_uid}, not {user}), who can "
            "take it away.",
            f"chown it to the user of this service ({user}).",
        )
    if os.name == "posix" and found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        yield Finding(
            "spool-open",
            "warning",
            f"The spool {folder} is open to other users (mode {mode:04o}).",
            f"chmod 700 {folder}",
        )


def _lasting(folder: Path) -> Findings:
    kind = filesystem_of(folder)
    if kind in _VOLATILE:
        yield Finding(
            "spool-volatile",
            "warning",
            f"The spool {folder} is in memory ({kind}): it is gone when the machine restarts.",
            "Put it on a disk, or a volume that outlives the container.",
        )
    elif kind in _NETWORK:
        yield Finding(
            "spool-network",
            "warning",
            f"The spool {folder} is on a network file system ({kind}), whose locks and syncs "
            "cannot be relied on, and which may hang with the network.",
            "Put it on a disk of this machine.",
        )


def filesystem_of(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of file system that a folder is on; None where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        path = folder.resolve()
    except OSError:
        return None
    best, kind = -1, None
    for line in lines:
        about, _, rest = line.partition(" - ")
        point = Path(about.split(" ")[4].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split(" ")[0]
    return kind


def _level(folder: Path, settings: SpoolSettings) -> Findings:
    state = Spool(folder, max_bytes=settings.max_bytes, max_age=settings.max_age).state()
    if state.problem:
        yield _unusable(folder, f"cannot be read: {state.problem}")
    if state.strangers:
        yield Finding(
            "spool-strangers",
            "warning",
            f"The spool {folder} has {plural(state.strangers, 'segment')} of other users, which "
            "this service leaves alone.",
            "Let all services that share a spool run as one user, or give each its own folder.",
        )
    if state.bytes > settings.max_bytes * _MOST:
        yield Finding(
            "spool-full",
            "error",
            f"The spool {folder} takes {state.bytes:,} of {settings.max_bytes:,} bytes: the "
            "oldest batches are about to be dropped, or are already.",
            "Bring the Collector back, or set CXTRACE_SPOOL_MAX_BYTES higher.",
        )
    if state.oldest is not None and state.oldest > settings.max_age * _OLD:
        yield Finding(
            "spool-old",
            "warning",
            f"In the spool {folder}, {plural(sum(state.items.values()), 'item')} wait, the oldest "
            f"for {state.oldest / 3600:.1f} hours; after {settings.max_age / 3600:.1f} it is "
            "dropped.",
            "Find out why nothing is replayed: is the Collector back, and this service running?",
        )
