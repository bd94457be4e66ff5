"""https and wss by the server itself, with a certificate made here."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme
from clients import PATIENCE
from processes import ServerProcess, pause

from rtpush.access.auth import hash_api_key, new_api_key
from rtpush.config.settings import Settings
from rtpush.server import Server, StartError


def certificate(folder: Path, authority: trustme.CA) -> tuple[Path, Path]:
    """Certificate and key for this machine, as files."""
    made = authority.issue_cert("127.0.0.1", "localhost")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return cert, key


def trusting(authority: trustme.CA) -> aiohttp.TCPConnector:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return aiohttp.TCPConnector(ssl=context)


async def test_every_transport_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = certificate(tmp_path, authority)
    api_key = new_api_key()
    settings = Settings(
        port=0, log="memory:", tls_cert=cert, tls_key=key, api_keys=(hash_api_key(api_key),)
    )
    bearer = {"Authorization": f"Bearer {api_key}"}
    async with (
        Server(settings) as server,
        aiohttp.ClientSession(connector=trusting(authority), headers=bearer) as http,
    ):
        assert server.url.startswith("https://")
        async with http.ws_connect(f"{server.url}ws") as ws:
            assert (await ws.receive_json())["event"] == "connect"
            await ws.receive_json()
            async with http.get(f"{server.url}sse") as stream:
                async with http.post(f"{server.url}api/publish", json={"event": "x"}) as answer:
                    position = (await answer.json())["id"]
                assert (await ws.receive_json())["id"] == position
                while position.encode() not in await stream.content.readline():
                    pass
            async with http.get(f"{server.url}poll") as answer:
                assert (await answer.json())["last"] == position
            # More than one TLS record, and more than the buffers hold.
            large = {"event": "ping", "data": "x" * 500_000}
            await ws.send_json(large)
            assert (await ws.receive_json())["data"] == large["data"]


async def test_plain_http_on_a_tls_port_hurts_nobody(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = certificate(tmp_path, authority)
    settings = Settings(port=0, log="memory:", tls_cert=cert, tls_key=key)
    async with (
        Server(settings) as server,
        aiohttp.ClientSession(connector=trusting(authority)) as http,
    ):
        with pytest.raises(aiohttp.ClientError):
            await http.get(server.url.replace("https", "http"))
        async with http.get(f"{server.url}healthz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"tls_cert": "missing.pem"}, "there is no file"),
        ({"tls_key": "key.pem"}, "tls_cert is not"),
        ({"tls_cert": "key.pem", "tls_key": "cert.pem"}, "cannot be used"),
        ({"tls_cert": "cert.pem"}, "cannot be used"),
    ],
)
async def test_what_cannot_be_used_is_refused(
    tmp_path: Path, files: dict[str, str], why: str
) -> None:
    certificate(tmp_path, trustme.CA())
    paths = {name: tmp_path / file for name, file in files.items()}
    server = Server(Settings(port=0, log="memory:", **paths))  # type: ignore[arg-type]
    with pytest.raises(StartError, match=why):
        await server.start()


async def test_sighup_reads_the_certificate_again(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    cert, key = certificate(tmp_path, first)
    server = ServerProcess(tmp_path, "--log=memory:", f"--tls-cert={cert}", f"--tls-key={key}")
    await server.start()
    url = f"https://127.0.0.1:{server.port}/"
    assert url in server.banner
    assert f"wss://127.0.0.1:{server.port}/ws" in server.banner
    async with aiohttp.ClientSession(connector=trusting(first)) as old:
        ws = await old.ws_connect(f"{url}ws")
        # What cannot be used is not taken.
        cert.write_text("nonsense")
        server.signal(signal.SIGHUP)
        async with old.get(f"{url}healthz") as answer:
            assert answer.status == 200
        certificate(tmp_path, second)
        server.signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE):
            while not await trusted(url, second):
                await pause()
        # Who was connected still is.
        await ws.send_json({"event": "ping", "data": "still here"})
        while (await ws.receive_json()).get("data") != "still here":
            pass
        await ws.close()
    code, errors = await server.stop()
    assert code == 0
    assert "the certificate is kept" in errors


async def trusted(url: str, authority: trustme.CA) -> bool:
    async with aiohttp.ClientSession(connector=trusting(authority)) as http:
        try:
            async with http.get(f"{url}healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorCertificateError:
            return False
