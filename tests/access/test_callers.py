"""Callers: the client that a request comes from, and what only this machine's programs may."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from rtpush.access.addresses import is_loopback, rate_limit_address
from rtpush.access.callers import Caller, Callers, is_private
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.server import Server

TRUSTED = Callers(Settings(trusted_proxies=("10.0.0.0/8", "::1", "127.0.0.1")))


def of(
    peer: str, *headers: tuple[str, str], target: str = "/poll", version: tuple[int, int] = (1, 1)
) -> Caller:
    """The caller of a request with these header lines."""
    return TRUSTED.of(peer, "http", target, version, CIMultiDict([("Host", "h"), *headers]))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        # The client wrote what stands in front.
        ("10.0.0.1", ["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        # HAProxy adds a second line, and leaves the client's where it is.
        ("127.0.0.1", ["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["::1", "127.0.0.1, 203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::1", ["2001:db8::7"], "2001:db8::7"),
        # With a port, which is another one for each connection.
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        # No address: the proxy itself is the last that is known.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["x" * 3000], "10.0.0.1"),
        ("10.0.0.1", [","], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9,"], "203.0.113.9"),
        # A Unix socket: its other end has no address.
        ("", ["203.0.113.9"], ""),
        # A stranger's claim.
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_trusted_proxy(
    peer: str, forwarded: list[str], address: str
) -> None:
    caller = of(peer, *(("X-Forwarded-For", line) for line in forwarded))
    assert caller.address == address
    assert not (caller.is_local and forwarded)


def test_a_client_of_another_machine_is_not_local() -> None:
    assert not of("203.0.113.9").is_local


def test_a_network_may_be_written_as_any_address_of_it() -> None:
    callers = Callers(Settings(trusted_proxies=("10.1.2.3/8",)))
    headers = CIMultiDict([("X-Forwarded-For", "203.0.113.9")])
    caller = callers.of("10.9.9.9", "http", "/", (1, 1), headers)
    assert (caller.address, caller.host) == ("203.0.113.9", "")


def test_the_scheme_is_believed_from_proxies_only() -> None:
    said = [("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")]
    assert of("10.0.0.1", *said).scheme == "https"
    assert of("192.0.2.1", *said).scheme == "http"


def test_a_forwarded_host_is_never_believed() -> None:
    assert of("10.0.0.1", ("X-Forwarded-Host", "evil.example")).host == "h"


def test_an_absolute_target_names_the_host() -> None:
    assert of("203.0.113.9", target="http://evil.example:80/poll").host == "evil.example:80"
    with pytest.raises(RtpushError, match="more than once"):
        of("203.0.113.9", ("Host", "other"))


@pytest.mark.parametrize(
    "header",
    [
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Real-IP",
        "CF-Connecting-IP",
        "CF-Ray",
        "True-Client-IP",
        "X-Amzn-Trace-Id",
        "X-Envoy-External-Address",
    ],
)
def test_any_sign_of_a_proxy_ends_the_privilege_of_this_machine(header: str) -> None:
    assert of("127.0.0.1").is_local
    assert not of("127.0.0.1", (header, "127.0.0.1")).is_local
    # nginx speaks HTTP/1.0 to what is behind it, unless it is told otherwise.
    assert not of("127.0.0.1", version=(1, 0)).is_local


@pytest.mark.parametrize(
    "changes",
    [
        {"allow_hosts": ("push.example.com",)},
        {"trusted_proxies": ("10.0.0.0/8",)},
        {"auth_secret": "s" * 32},
        {"host": "0.0.0.0"},
    ],
)
def test_settings_that_let_others_in(changes: dict[str, Any]) -> None:
    assert is_private(Settings())
    assert not is_private(Settings(**changes))


async def test_a_server_that_others_reach_asks_its_own_machine_for_a_key() -> None:
    settings = Settings(port=0, log="memory:", allow_hosts=("push.example.com",))
    async with (
        Server(settings) as server,
        aiohttp.ClientSession(trust_env=False) as http,
        http.get(f"{server.url}api/tasks") as answer,
    ):
        assert answer.status == 401
        assert "rtpush token --api-key --save" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_what_is_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        # A client has a whole /64 to itself, and takes another address of it at will.
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("", ""),
    ],
)
def test_the_address_that_limits_count_by(address: str, counted: str) -> None:
    assert rate_limit_address(address) == counted
