"""Is the host that a request goes to ours? Told from the attributes of the client's span."""

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

_HOSTS: Final = ("server.address", "net.peer.name")
_SAY_WHERE: Final = (*_HOSTS, "url.full", "http.url")
_OF_A_BROKER: Final = frozenset(
    {"messaging.system", "messaging.destination", "messaging.message.id", "messaging.message_id"}
)
_SUFFIXES: Final = (".internal", ".local", ".svc", ".cluster.local", ".localhost")
_NETWORKS: Final = tuple(
    ip_network(block)
    for block in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7")
)
# What else stands in a host, such as a slash or a backslash, clients read in different ways.
_HOST: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*")
# A lone number is an IPv4 address to most resolvers: 134744072 is 8.8.8.8.
_LABEL: Final = re.compile(r"[a-z](?:[a-z0-9_-]*[a-z0-9])?")
# Where a host or a port has more than it should, clients disagree on where the host ends: to
# urllib, "[::1].example.com" and "localhost:.example.com:80" are hosts of example.com.
_AUTHORITY: Final = re.compile(r"(?:.*@)?(\[[^][%]*\]|[^][:%@]*)(?::[0-9]*)?", re.ASCII | re.DOTALL)


def is_ours(attributes: Mapping[str, Any], trusted: tuple[str, ...]) -> bool | None:
    """True where all that the attributes say leads to us, None where they say nothing.

    Args:
        attributes: Of the CLIENT or PRODUCER span, by old or new conventions.
        trusted: Hosts that are ours as well: ``api.example.com``, ``*.example.com``.
    """
    if not _OF_A_BROKER.isdisjoint(attributes):
        return True
    found = None
    for key in _SAY_WHERE:
        if key in attributes:
            host = attributes[key] if key in _HOSTS else _host(_origin(attributes[key]))
            if not isinstance(host, str) or not _is_our_host(host, trusted):
                return False
            found = True
    return found


def _origin(url: object) -> str:
    """The URL without its path, so that few hosts make few entries in the cache."""
    if not isinstance(url, str):
        return ""
    end = url.find("/", url.find("//") + 2)
    return url if end < 0 else url[:end]


@lru_cache(maxsize=1_024)
def _host(url: str) -> str | None:
    if "\\" in url:
        return None
    try:
        authority = _AUTHORITY.fullmatch(urlsplit(url).netloc)
    except ValueError:
        return None
    return None if authority is None else authority[1]


@lru_cache(maxsize=1_024)
def _is_our_host(host: str, trusted: tuple[str, ...]) -> bool:
    host = host.lower().rstrip(".").strip("[]")
    if any(_matches(host, pattern.lower()) for pattern in trusted):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return _LABEL.fullmatch(host) is not None or _has_suffix(host, _SUFFIXES)
    if getattr(address, "scope_id", None):  # "::1%x.example.com" is a name to some resolvers
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in _NETWORKS)


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return _has_suffix(host, pattern[1:])
    return host == pattern


def _has_suffix(host: str, suffix: str | tuple[str, ...]) -> bool:
    return host.endswith(suffix) and _HOST.fullmatch(host) is not None
