"""A network of two: this machine, and a namespace whose cable can be pulled. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


class Network:
    """A namespace with an address of its own, and the way to it."""

    def __init__(self, number: int) -> None:
        self._name = f"cxfaults{number}"
        self._near, self._far = f"cxn{number}", f"cxf{number}"
        self._outside = f"10.213.{number}.1"
        self.inside = f"10.213.{number}.2"
        """The address of what runs in it."""
        self.command = ("ip", "netns", "exec", self._name)
        """What comes before the command of a program that is to run in it."""

    def begin(self) -> None:
        """Make it."""
        _ip(f"netns add {self._name}")
        _ip(f"link add {self._near} type veth peer name {self._far} netns {self._name}")
        _ip(f"addr add {self._outside}/30 dev {self._near}")
        _ip(f"link set {self._near} up")
        _ip(f"-n {self._name} addr add {self.inside}/30 dev {self._far}")
        _ip(f"-n {self._name} link set lo up")
        self.mend()

    def cut(self) -> None:
        """Pull the cable: what is sent from now on is lost, without a word."""
        _ip(f"-n {self._name} link set {self._far} down")

    def mend(self) -> None:
        """Put it in again."""
        _ip(f"-n {self._name} link set {self._far} up")

    def end(self) -> None:
        """Remove everything."""
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._near], capture_output=True, check=False)


@contextmanager
def network() -> Iterator[Network]:
    """A network, for as long as the block lasts."""
    made = Network(os.getpid() % 250)
    made.end()  # of a process that had the same number, and was killed
    try:
        made.begin()
        yield made
    finally:
        made.end()


@cache
def is_permitted() -> bool:
    """Whether this process may make networks."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with network():
            return True
    except OSError:
        return False


def _ip(arguments: str) -> None:
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {arguments}: {done.stderr.strip()}")
