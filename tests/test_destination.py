"""Which hosts are ours, told from span attributes, and the tricks to look like one of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import _destination

TRUSTED = ("api.example.com", "*.shop.example", "Müller.example", "203.0.113.7")

OURS = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "shop",
    "shop_db",
    "shop-7",
    "orders.internal",
    "Orders.Internal",
    "orders.internal.",
    "a.b.internal",
    "printer.local",
    "orders.prod.svc",
    "orders.prod.svc.cluster.local",
    "x.localhost",
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "[::1]",
    "0:0:0:0:0:0:0:1",
    "fd12:3456::1",
    "FD12:3456::1",
    "::ffff:10.0.0.1",
    "[::ffff:127.0.0.1]",
    "api.example.com",
    "API.Example.COM",
    "api.example.com.",
    "a.shop.example",
    "a.b.shop.example",
    "müller.example",
    "MÜLLER.example",
    "203.0.113.7",
]

STRANGERS = [
    "",
    ".",
    "example.com",
    "evil.com",
    "shop.internal.evil.com",
    "internal.com",
    "local.evil.com",
    "svc.com",
    "cluster.local.com",
    "169.254.169.254",
    "fe80::1",
    "0.0.0.0",
    "::",
    "8.8.8.8",
    "172.15.255.255",
    "172.32.0.1",
    "192.169.0.1",
    "11.0.0.1",
    "126.255.255.255",
    "100.64.0.1",
    "2001:db8::1",
    "::ffff:8.8.8.8",
    "[::ffff:169.254.169.254]",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "::1%a.evil.com",
    "::1%25a.evil.com",
    "2002:7f00:1::",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.1",
    "127.0.0.1.nip.io",
    "10.0.0.1.evil.com",
    "10.0.0.1:80",
    "orders.internal:8080",
    "api.example.com.evil.com",
    "xapi.example.com",
    "evil.com/api.example.com",
    "shop.example",
    "xshop.example",
    "a.shop.example.evil.com",
    "evil.com/.shop.example",
    "evil.com#.shop.example",
    "evil.com?a.internal",
    "evil.com/.internal",
    "evil.com\\.internal",
    "evil.com%2f.internal",
    "evil.com@orders.internal",
    "evil.com\n.internal",
    "evil.com .internal",
    "evil.com\x00.internal",
    "a..internal",
    ".internal",
    "évil.com",
    "xn--vil-9la.com",
    "xn--mller-kva.example",
    "shop\u3002internal",
    "evil.com\uff0f.internal",
    "①①①.evil.com",
    "/var/run/docker.sock",
    "*",
    "*.shop.example",
]


@pytest.mark.parametrize("host", OURS)
@pytest.mark.parametrize("key", ["server.address", "net.peer.name"])
def test_host_is_ours(host: str, key: str) -> None:
    """Loopback, private networks, single labels, our suffixes and trusted hosts are ours."""
    assert _destination.is_ours({key: host}, TRUSTED) is True


@pytest.mark.parametrize("host", STRANGERS)
@pytest.mark.parametrize("key", ["server.address", "net.peer.name"])
def test_host_is_a_stranger(host: str, key: str) -> None:
    """Everything else is a stranger, whatever it does to look like one of ours."""
    assert _destination.is_ours({key: host}, TRUSTED) is False


@pytest.mark.parametrize("host", [None, 7, b"localhost", ["localhost"], True])
def test_host_that_is_no_text_is_a_stranger(host: object) -> None:
    """An attribute of another type than text proves nothing."""
    assert _destination.is_ours({"server.address": host}, TRUSTED) is False


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "http://localhost:8080/a?b=http://evil.com/",
        "HTTPS://API.EXAMPLE.COM/",
        "https://user:password@orders.internal/x",
        "https://user@evil.com@orders.internal/x",
        "http://127.0.0.1:80",
        "http://[::1]:80/",
        "http://[::ffff:10.0.0.1]/",
        "http://orders.internal./",
        "//orders.internal/",
        "amqp://broker:5672",
    ],
)
@pytest.mark.parametrize("key", ["url.full", "http.url"])
def test_url_is_ours(url: str, key: str) -> None:
    """The host of a URL counts, without port, credentials and path."""
    assert _destination.is_ours({key: url}, TRUSTED) is True


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "orders.internal",
        "/orders",
        "http://",
        "http:///orders",
        "http://shop.internal@evil.com/",
        "http://shop.internal:80@evil.com/",
        "http://shop.internal%40evil.com/",
        "http://evil.com#@shop.internal/",
        "http://evil.com?@shop.internal/",
        "http://evil.com/@shop.internal/",
        "http://evil.com\\@shop.internal/",
        "http://evil.com\\.internal/",
        "http://evil.com%2f.internal/",
        "http://evil.com%00.internal/",
        "http://evil.com\uff0f.internal/",
        "http://[::1",
        "http://::1]/",
        "http://[evil.com]/",
        "http://[::1].evil.com/",
        "http://[::1]evil.com:80/",
        "http://evil.com[::1]/",
        "http://[::1%25a.evil.com]/",
        "http://localhost:.evil.com:80/",
        "http://shop.internal:80:443/",
        "http://shop.internal:http/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "javascript:localhost",
        "file:///etc/passwd",
        "http:localhost",
    ],
)
@pytest.mark.parametrize("key", ["url.full", "http.url"])
def test_url_is_a_stranger(url: str, key: str) -> None:
    """A URL of a stranger, without a host, or that clients read in different ways is refused."""
    assert _destination.is_ours({key: url}, TRUSTED) is False


@pytest.mark.parametrize("url", [None, 7, b"http://localhost/", ["http://localhost/"]])
def test_url_that_is_no_text_is_a_stranger(url: object) -> None:
    """A URL of another type than text proves nothing."""
    assert _destination.is_ours({"http.url": url}, TRUSTED) is False


@pytest.mark.parametrize(
    "attributes",
    [
        {"server.address": "orders.internal", "url.full": "http://evil.com/"},
        {"server.address": "evil.com", "url.full": "http://orders.internal/"},
        {"net.peer.name": "localhost", "http.url": "http://evil.com/"},
        {"server.address": "localhost", "net.peer.name": "evil.com"},
        {"url.full": "http://localhost/", "http.url": "http://evil.com/"},
        {"server.address": "localhost", "url.full": "nonsense"},
    ],
)
def test_contradiction_is_refused(attributes: dict[str, str]) -> None:
    """Where one attribute leads to a stranger, the others do not help."""
    assert _destination.is_ours(attributes, TRUSTED) is False


@pytest.mark.parametrize(
    "attributes", [{}, {"http.method": "GET"}, {"server.port": 80}, {"peer.service": "orders"}]
)
def test_nothing_said_is_unknown(attributes: dict[str, Any]) -> None:
    """Attributes without a host say nothing, which is not the same as a stranger."""
    assert _destination.is_ours(attributes, TRUSTED) is None


def test_message_broker_is_ours() -> None:
    """A message goes to a broker, and a broker is ours."""
    attributes = {"messaging.system": "kafka", "server.address": "broker.example.com"}

    assert _destination.is_ours(attributes, ()) is True


def test_nothing_is_trusted_by_default() -> None:
    """Without ``trusted_hosts`` a public name is a stranger."""
    assert _destination.is_ours({"server.address": "api.example.com"}, ()) is False


@pytest.mark.parametrize("pattern", ["*", "*.", "", ".", "*.*", "http://evil.com", "evil.com/"])
def test_odd_patterns_trust_nobody(pattern: str) -> None:
    """A pattern that is no host name lets nobody in by accident."""
    assert _destination.is_ours({"server.address": "evil.com"}, (pattern,)) is False


@given(st.text(), st.text())
def test_noise_never_raises(host: str, url: str) -> None:
    """Whatever stands in the attributes, the answer is yes or no."""
    assert _destination.is_ours({"server.address": host}, TRUSTED) in (True, False)
    assert _destination.is_ours({"url.full": url}, TRUSTED) in (True, False)
    assert _destination.is_ours({"url.full": f"http://{url}"}, TRUSTED) in (True, False)


@given(st.ip_addresses(v=4))
def test_public_addresses_are_strangers(address: Any) -> None:
    """No IPv4 address outside of loopback and the three private networks is ours."""
    octets = address.packed
    private = (
        octets[0] in (10, 127)
        or (octets[0] == 172 and 16 <= octets[1] <= 31)
        or octets[:2] == bytes((192, 168))
    )

    assert _destination.is_ours({"server.address": str(address)}, ()) is private
