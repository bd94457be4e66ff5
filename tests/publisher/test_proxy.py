"""Publishers and clients that reach their server through a proxy of the environment."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
import trustme

import rtpush
from rtpush.publisher.proxy import find_proxy

PATIENCE = 10.0
# No name server knows it: only the proxy.
HOST = "push.example.test"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Proxy:
    """A forward proxy that takes every name for this machine."""

    def __init__(self) -> None:
        self.port = 0
        # The method, the target and the credentials of each connection.
        self.asked: list[tuple[str, str, str]] = []

    @property
    def url(self) -> str:
        return f"http://ada:s%40fe@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.partition("\r\n")[0].split()
        names = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        credentials = {name.lower(): value for name, value in names.items()}
        self.asked.append((method, target, credentials.get("proxy-authorization", "")))
        port = int(target.rpartition(":")[2].partition("/")[0])
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = target.split("/", 3)[3]
            up_writer.write(head.replace(target, f"/{path}", 1).encode())
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    await asyncio.wait_for(server.wait_closed(), PATIENCE)


CREDENTIALS = "Basic " + base64.b64encode(b"ada:s@fe").decode()


async def publish_and_listen(url: str, **options: Any) -> None:
    """With each of the classes that talk to a server."""

    def publish() -> None:
        with rtpush.Publisher(url, key="k") as publisher:
            assert publisher.publish("n", 1)
            assert publisher.publish("n", 2)

    client = rtpush.Client(**options)
    events = client.events("n")
    await client.connect(url)
    try:
        await asyncio.to_thread(publish)
        async with rtpush.AsyncPublisher(url, key="k") as publisher:
            await publisher.publish("n", 3)
        async with asyncio.timeout(PATIENCE):
            assert [(await anext(events)).data for _ in range(3)] == [1, 2, 3]
    finally:
        await client.disconnect()


async def test_http_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        proxying() as proxy,
        rtpush.Server(port=0, log="memory:", insecure=True, allow_hosts=[HOST]) as server,
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await publish_and_listen(f"http://{HOST}:{server.port}")
        publishes = [(m, t) for m, t, _ in proxy.asked if t.endswith("/api/publish")]
        assert publishes == 2 * [("POST", f"http://{HOST}:{server.port}/api/publish")]
        assert {credentials for _, _, credentials in proxy.asked} == {CREDENTIALS}


async def test_https_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    made, ca = authority.issue_cert(HOST), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    # aiohttp has read the variable already.
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context())
    tls = {"tls_cert": tmp_path / "both.pem", "insecure": True, "allow_hosts": [HOST]}
    async with proxying() as proxy, rtpush.Server(port=0, log="memory:", **tls) as server:
        monkeypatch.setenv("https_proxy", proxy.url)
        await publish_and_listen(f"https://{HOST}:{server.port}", ssl_verify=False)
        assert set(proxy.asked) == {("CONNECT", f"{HOST}:{server.port}", CREDENTIALS)}


@pytest.mark.parametrize(
    ("url", "environment", "used"),
    [
        ("http://a.test", {}, None),
        ("http://a.test", {"HTTP_PROXY": "p.test:3128"}, "http://p.test:3128"),
        ("https://a.test", {"HTTP_PROXY": "http://p.test"}, None),
        ("https://a.test", {"https_proxy": "http://p.test:1"}, "http://p.test:1"),
        ("http://a.test", {"HTTP_PROXY": "http://p.test", "NO_PROXY": "b.test,a.test"}, None),
        ("http://x.a.test:8", {"HTTP_PROXY": "http://p.test", "NO_PROXY": ".a.test"}, None),
        ("http://127.0.0.1:5000", {"HTTP_PROXY": "http://p.test"}, None),
        ("http://localhost:5000", {"HTTP_PROXY": "http://p.test"}, None),
        ("http://[::1]:5000", {"HTTP_PROXY": "http://p.test"}, None),
    ],
)
def test_the_proxy_of_the_environment(
    url: str, environment: dict[str, str], used: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = find_proxy(url)
    assert (None if found is None else found.url) == used


@pytest.mark.parametrize("proxy", ["socks5://p.test:1080", "http://:3128", "http://p.test:x"])
def test_another_kind_of_proxy_is_refused_in_words(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ValueError, match="HTTP_PROXY is not an address like") as caught:
        rtpush.Publisher("http://a.test")
    assert proxy not in str(caught.value)
