"""A stranger's claims behind real proxies: the server believes what the proxy saw."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from needs import needs, program
from processes import free_port

from rtpush.config.settings import Settings
from rtpush.server import Server

CLAIMS = [
    [],
    ["X-Forwarded-For: 127.0.0.1"],
    ["X-Forwarded-For: ::1", "X-Forwarded-For: localhost"],
    ["X-Forwarded-For: 203.0.113.5, 127.0.0.1"],
]


@needs("haproxy")
@pytest.mark.parametrize("claims", CLAIMS)
async def test_haproxy_adds_a_line_of_its_own(tmp_path: Path, claims: list[str]) -> None:
    settings = Settings(
        port=0, log="memory:", trusted_proxies=("127.0.0.1",), allow_hosts=("push.example.com",)
    )
    async with Server(settings) as server:
        port = free_port()
        config = tmp_path / "haproxy.cfg"
        config.write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
frontend public
    bind 127.0.0.1:{port} accept-proxy
    default_backend rtpush
backend rtpush
    server one 127.0.0.1:{server.port}
""")
        proxy = await asyncio.create_subprocess_exec(program("haproxy"), "-f", str(config))
        try:
            # The PROXY protocol tells HAProxy that this client is a remote one.
            answer = await ask(port, "PROXY TCP4 203.0.113.5 203.0.113.1 40000 80", claims)
            assert answer.split()[1] == b"401"
            await ask(port, "PROXY TCP4 203.0.113.5 203.0.113.1 40000 80", claims, "/poll")
            (session,) = server._hub.sessions.values()
            assert session.address == "203.0.113.5"
        finally:
            proxy.terminate()
            await proxy.wait()


async def ask(port: int, preface: str, claims: list[str], path: str = "/api/history") -> bytes:
    """The answer to a request; the proxy may still be starting."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    lines = [f"GET {path} HTTP/1.1", "Host: push.example.com", "Connection: close", *claims, "", ""]
    writer.write(f"{preface}\r\n".encode() + "\r\n".join(lines).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
