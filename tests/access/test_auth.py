"""Tokens, API keys and what they open, over every transport."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from clients import KINDS, Client, WebSocket
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from rtpush.access.auth import hash_api_key, new_api_key
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.server import Server, StartError

SECRET = "a secret of more than thirty-two bytes"
OTHER = "another secret of more than thirty-two bytes"


def token(
    subject: str | None = "ada", secret: str = SECRET, seconds: float = 3600, **claims: Any
) -> str:
    if subject is not None:
        claims["sub"] = subject
    return jwt.encode({"exp": time.time() + seconds, **claims}, secret, "HS256")


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    async with (
        Server(Settings(port=0, log="memory:", **settings)) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        yield server, http


async def refusal(server: Server, http: Any, kind: type[Client], **options: Any) -> str:
    """The code with which a connection is refused."""
    headers = {"Authorization": f"Bearer {options['token']}"} if "token" in options else {}
    query = "&".join(f"room={room}" for room in options.get("rooms", ()))
    url = server.url.rstrip("/")
    if kind is WebSocket:
        client = kind(url, http)
        client.headers = headers
        await client._connect(query)
        error = await client.next()
        assert error["event"] == "error"
        assert await client.ended() in (4400, 4401, 4403, 4529)
        await client.close()
        return str(error["data"]["code"])
    path = "sse" if kind.name == "sse" else "poll"
    async with http.get(f"{url}/{path}?{query}", headers=headers) as answer:
        assert answer.status >= 400, await answer.text()
        return str((await answer.json())["error"]["code"])


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    found: type[Client] = request.param
    return found


def with_payload(payload: str, header: str = '{"alg":"HS256","typ":"JWT"}') -> str:
    """A token that is signed well, whatever it holds."""
    head, body = (
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (header, payload)
    )
    mac = hmac.digest(SECRET.encode(), head + b"." + body, "sha256")
    return b".".join([head, body, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


async def test_who_has_a_token_gets_in(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET) as (server, http):
        client = await kind.open(server.url.rstrip("/"), http, token=token())
        assert await client.accepted({"event": "ping"}) is None
        await client.close()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        "nonsense",
        "a.b.c",
        "x" * 5_000,
        token(filler="x" * 5_000),
        token(rooms=["a", 5]),
        token(secret=OTHER),
        token(seconds=-60),
        token(nbf=time.time() + 1800),
        jwt.encode({"sub": "ada"}, SECRET, "HS256"),
        jwt.encode({"exp": time.time() + 3600}, SECRET * 2, "HS512"),
        jwt.encode({"exp": time.time() + 3600}, None, "none"),
        token(aud="somebody else"),
        token(rooms="not a list"),
        token(emit=[1]),
        with_payload('{"sub":"ada","exp":1e400}'),
        with_payload('{"sub":"ada","exp":NaN}'),
        with_payload('{"sub":"ada","exp":[]}'),
        with_payload('{"sub":"ada","exp":1e12,"nbf":1e400}'),
        with_payload('{"sub":"ada","exp":1e12,"iat":{}}'),
        with_payload("[" * 2_900),
        with_payload("[]"),
        with_payload("{}", "[" * 2_900),
        with_payload("{}", "[]"),
        with_payload("{}", '{"alg":["HS256"],"kid":{}}'),
    ],
    ids=lambda bad: f"{bad!r:.12}",
)
async def test_who_has_none_that_is_valid_does_not(kind: type[Client], bad: str | None) -> None:
    async with running(auth_secret=SECRET) as (server, http):
        options = {} if bad is None else {"token": bad}
        assert await refusal(server, http, kind, **options) == "not_authenticated"
        assert server._hub.sessions == {}


@pytest.mark.parametrize("header", ["Authorization: Bearer ", "Sec-WebSocket-Protocol: bearer."])
@pytest.mark.parametrize("path", ["/ws", "/sse", "/poll", "/api/tasks"])
@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a.b.\x80"])
async def test_bytes_that_are_no_text_are_no_token(header: str, path: str, raw: bytes) -> None:
    async with running(auth_secret=SECRET, api_keys=hash_api_key("k")) as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        upgrade = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            if path == "/ws"
            else "Connection: close\r\n"
        )
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}{header}"
        writer.write(head.encode() + raw + b"\r\n\r\n")
        # A WebSocket's other headers are read first.
        code = b"bad_request" if (path, header[:3]) == ("/ws", "Sec") else b"not_authenticated"
        await asyncio.wait_for(reader.readuntil(code), 10)
        writer.close()


async def test_a_token_never_stands_in_a_message(
    kind: type[Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = token(secret=OTHER)
    async with running(auth_secret=SECRET) as (server, http):
        await refusal(server, http, kind, token=bad)
        async with http.get(f"{server.url}poll", params={"token": bad}) as answer:
            assert bad not in await answer.text()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("rtpush")]
    assert not any(bad in message for message in ours)


async def test_leeway_and_audience(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET, auth_leeway=30, auth_audience="push") as (server, http):
        url = server.url.rstrip("/")
        client = await kind.open(url, http, token=token(seconds=60, aud="push"))
        await client.close()
        assert await refusal(server, http, kind, token=token()) == "not_authenticated"
        assert await refusal(server, http, kind, token=token(aud="x")) == "not_authenticated"
        assert await refusal(server, http, kind, token=token(seconds=-40, aud="push")) == (
            "not_authenticated"
        )


async def test_a_browser_sends_it_as_a_subprotocol() -> None:
    async with running(auth_secret=SECRET) as (server, http):
        offered = ["rtpush", f"bearer.{token()}"]
        async with http.ws_connect(f"{server.url}ws", protocols=offered) as ws:
            assert ws.protocol == "rtpush"
            assert (await ws.receive_json())["event"] == "connect"


async def test_the_address_is_no_place_for_it_unless_enabled() -> None:
    for enabled, status, code in ((False, 400, "bad_request"), (True, 200, None)):
        async with (
            running(auth_secret=SECRET, token_in_query=enabled) as (server, http),
            http.get(f"{server.url}poll", params={"token": token()}) as answer,
        ):
            found = (await answer.json()).get("error", {}).get("code")
            assert (answer.status, found) == (status, code)


# ---- what it allows ----------------------------------------------------------


async def test_rooms_that_may_be_entered(kind: type[Client]) -> None:
    allowed = token(rooms=["team-*", "lobby"])
    async with running(auth_secret=SECRET) as (server, http):
        url = server.url.rstrip("/")
        assert await refusal(server, http, kind, token=allowed, rooms=["other"]) == "forbidden"
        client = await kind.open(url, http, ["team-a"], token=allowed)
        await client.accepted({"event": "join", "data": {"room": "lobby"}})
        assert await client.refused({"event": "join", "data": {"room": "other"}}) == "forbidden"
        assert await client.refused({"event": "x", "room": "other"}) == "forbidden"
        assert await client.refused({"event": "x", "room": "team-b"}) == "forbidden"
        await client.accepted({"event": "x", "room": "team-a"})
        await server.enter_room(client.sid, "given")
        await client.accepted({"event": "x", "room": "given"})
        await client.close()


async def test_without_the_claim_no_rooms(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET) as (server, http):
        assert await refusal(server, http, kind, token=token(), rooms=["a"]) == "forbidden"


async def test_events_that_may_be_sent(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET) as (server, http):
        allowed = token(emit=["chat_*", "task_created"])
        client = await kind.open(server.url.rstrip("/"), http, token=allowed)
        await client.accepted({"event": "chat_line"})
        await client.accepted({"event": "task_created", "data": {"id": 1}})
        for event in ("news", "task_failed"):
            assert await client.refused({"event": event, "data": {"id": 1}}) == "forbidden"
        await client.close()


async def test_a_token_for_one_room(kind: type[Client]) -> None:
    """How an application lets somebody into a private room: it signs the room's name."""
    async with running(auth_secret=SECRET) as (server, http):
        client = await kind.open(server.url.rstrip("/"), http, token=token("ada"))

        def join(with_token: str) -> dict[str, Any]:
            return {"event": "join", "data": {"room": "private", "token": with_token}}

        for wrong in (token("ben", rooms=["private"]), token("ada", rooms=["else"]), "nonsense"):
            assert await client.refused(join(wrong)) in ("forbidden", "not_authenticated")
        assert await client.accepted(join(token("ada", rooms=["private"]))) == {"room": "private"}
        await client.accepted({"event": "x", "room": "private"})
        await client.close()


async def test_an_application_sees_who_it_is(kind: type[Client]) -> None:
    seen: list[Any] = []
    async with running(auth_secret=SECRET) as (server, http):
        server.on(
            "connect", lambda sid, environ, auth: seen.append((environ["rtpush.subject"], auth))
        )
        good = token("ada")
        client = await kind.open(server.url.rstrip("/"), http, token=good)
        assert seen == [("ada", {"token": good})]
        await client.close()


async def test_nobody_prepares_a_session_without_a_token() -> None:
    async with running(auth_secret=SECRET) as (server, http):
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {token()}"}, 200)):
            async with http.post(f"{server.url}session", json={}, headers=headers) as answer:
                assert answer.status == status


async def test_a_session_belongs_to_its_subject(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET) as (server, http):
        url = server.url.rstrip("/")
        ada = await kind.open(url, http, token=token("ada"))
        thief = await kind.open(url, http, (), ada.position, sid=ada.sid, token=token("ben"))
        assert thief.sid != ada.sid
        bearer = {"Authorization": f"Bearer {token('ben')}"}
        for headers, code in ((bearer, "forbidden"), ({}, "not_authenticated")):
            async with http.post(
                f"{url}/poll", params={"sid": ada.sid}, data="[]", headers=headers
            ) as answer:
                assert (await answer.json())["error"]["code"] == code
        assert await ada.accepted({"event": "ping"}) is None
        again = await kind.open(url, http, (), ada.position, sid=ada.sid, token=token("ada"))
        assert again.sid == ada.sid
        for client in (thief, again, ada):
            await client.close()


# ---- when it ends ------------------------------------------------------------


async def test_a_session_ends_with_its_token_unless_it_is_renewed() -> None:
    async with running(auth_secret=SECRET) as (server, http):
        url = server.url.rstrip("/")
        ends, renews = [
            await WebSocket.open(url, http, token=token("ada", seconds=30)) for _ in range(2)
        ]
        assert (
            await renews.refused({"event": "auth", "data": {"token": token("ben")}}) == "forbidden"
        )
        assert (
            await renews.refused({"event": "auth", "data": {"token": "x"}}) == "not_authenticated"
        )
        answer = await renews.accepted(
            {"event": "auth", "data": {"token": token("ada", seconds=90)}}
        )
        assert answer["expires"] == pytest.approx(time.time() + 90, abs=20)
        for session in server._hub._expiries.due(time.time() + 40):
            assert session.sid == ends.sid
        server._hub._runtime = replace(server._hub._runtime, wall=lambda: time.time() + 40)
        server._hub.tick()
        goodbye = (await ends.until("disconnect"))[-1]["data"]
        assert goodbye["code"] == 4401
        assert await ends.ended() == 4401
        assert await renews.accepted({"event": "ping"}) is None
        await renews.close()


async def test_auth_without_authentication_is_forbidden(kind: type[Client]) -> None:
    async with running() as (server, http):
        client = await kind.open(server.url.rstrip("/"), http)
        for event in ("auth", "join"):
            refused = {"event": event, "data": {"room": "a", "token": "t"}}
            assert await client.refused(refused) == "forbidden"
        await client.close()


# ---- keys --------------------------------------------------------------------


def key_pair(kind: str) -> tuple[Any, dict[str, Any]]:
    """A private key, and its public half as a JWK."""
    if kind == "RS256":
        private: Any = rsa.generate_private_key(65537, 2048)
        public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif kind == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return private, public


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_public_keys_from_a_file(tmp_path: Path, algorithm: str) -> None:
    private, public = key_pair(algorithm)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public | {"kid": "one"}]}))
    claims = {"sub": "ada", "exp": time.time() + 60}
    async with running(auth_keys=str(path)) as (server, http):
        good = jwt.encode(claims, private, algorithm, headers={"kid": "one"})
        client = await WebSocket.open(server.url.rstrip("/"), http, token=good)
        await client.close()
        other, _ = key_pair(algorithm)
        for bad in (
            jwt.encode(claims, other, algorithm, headers={"kid": "one"}),
            jwt.encode(claims, private, algorithm, headers={"kid": "unknown"}),
            # A public key is no secret, though everybody has it.
            forge_with_public_key(claims, public),
        ):
            assert await refusal(server, http, WebSocket, token=bad) == "not_authenticated"


def forge_with_public_key(claims: dict[str, Any], public: dict[str, Any]) -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims)
    )
    mac = hmac.digest(json.dumps(public).encode(), head + b"." + body, "sha256")
    return b".".join([head, body, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


async def test_keys_from_an_address_are_rotated_without_a_restart() -> None:
    first, second = key_pair("ES256"), key_pair("ES256")
    served = [first[1] | {"kid": "1"}]
    fetched = 0

    async def jwks(_request: web.Request) -> web.Response:
        nonlocal fetched
        fetched += 1
        return web.json_response({"keys": served})

    app = web.Application()
    app.router.add_get("/jwks", jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    claims = {"sub": "ada", "exp": time.time() + 60}
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    async with running(auth_keys=address) as (server, http):
        url = server.url.rstrip("/")
        good = jwt.encode(claims, first[0], "ES256", headers={"kid": "1"})
        await (await WebSocket.open(url, http, token=good)).close()
        served.append(second[1] | {"kid": "2"})
        newer = jwt.encode(claims, second[0], "ES256", headers={"kid": "2"})
        # Unknown ids do not make it fetch without end.
        for _ in range(5):
            assert await refusal(server, http, WebSocket, token=newer) == "not_authenticated"
        assert fetched == 1
        server._access.auth._fetched -= 60
        await (await WebSocket.open(url, http, token=newer)).close()
        assert fetched == 2
    await runner.cleanup()


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "EC", "crv": "P-256", "x": "!", "y": "AA"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": 7, "e": []},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "oct"},
        {"kty": ["EC"]},
        {"kty": "AKP", "alg": "ML-DSA-44"},
        {"use": {}},
        {},
        "a key",
        None,
    ],
    ids=lambda odd: f"{odd!r:.40}",
)
async def test_a_key_that_cannot_be_used_is_ignored(tmp_path: Path, odd: Any) -> None:
    """RFC 7517, section 5: it must not lock out the tokens of the others."""
    private, public = key_pair("ES256")
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [odd, public | {"kid": "one"}, odd]}))
    async with running(auth_keys=str(path)) as (server, http):
        claims = {"sub": "ada", "exp": time.time() + 60}
        good = jwt.encode(claims, private, "ES256", headers={"kid": "one"})
        await (await WebSocket.open(server.url.rstrip("/"), http, token=good)).close()
    path.write_text(json.dumps({"keys": [odd]}))
    with pytest.raises(StartError, match="no usable key"):
        await Server(Settings(port=0, log="memory:", auth_keys=str(path))).start()


async def test_while_keys_cannot_be_fetched_tokens_are_unavailable() -> None:
    async with running(auth_keys="http://127.0.0.1:9/jwks") as (server, _http):
        with pytest.raises(RtpushError, match="unavailable"):
            await server._access.auth.grant(token())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"auth_secret": "short"}, "fewer than 32 bytes"),
        ({"auth_keys": "/nowhere/jwks.json"}, "no usable keys"),
    ],
)
async def test_what_cannot_be_used_is_refused_at_the_start(settings: Any, why: str) -> None:
    with pytest.raises(StartError, match=why):
        await Server(Settings(port=0, log="memory:", **settings)).start()


# ---- the HTTP API ------------------------------------------------------------


async def status(server: Server, http: aiohttp.ClientSession, **headers: str) -> int:
    async with http.get(f"{server.url}api/tasks", headers=headers) as answer:
        return answer.status


async def test_api_keys_open_the_api() -> None:
    key = new_api_key()
    async with running(api_keys=(hash_api_key(new_api_key()), hash_api_key(key))) as (server, http):
        assert await status(server, http) == 401
        assert await status(server, http, Authorization=f"Bearer {new_api_key()}") == 401
        assert await status(server, http, Authorization=f"Bearer {key}") == 200
        # Clients need no token when none are configured.
        await (await WebSocket.open(server.url.rstrip("/"), http)).close()
        async with http.get(f"{server.url}healthz") as answer:
            assert answer.status == 200


async def test_tokens_open_it_with_the_right_to_publish() -> None:
    async with running(auth_secret=SECRET) as (server, http):
        assert await status(server, http) == 401
        assert await status(server, http, Authorization=f"Bearer {token()}") == 403
        good = token(publish=True)
        assert await status(server, http, Authorization=f"Bearer {good}") == 200
        assert await status(server, http, Authorization=f"Bearer {token(publish='yes')}") == 403


async def test_without_keys_it_serves_this_machine_only() -> None:
    async with running() as (server, http):
        assert await status(server, http) == 200
        # A proxy on this machine speaks for others.
        assert await status(server, http, **{"X-Forwarded-For": "203.0.113.7"}) == 401
        assert await status(server, http, Forwarded="for=203.0.113.7") == 401
    async with running(insecure=True) as (server, http):
        assert await status(server, http, **{"X-Forwarded-For": "203.0.113.7"}) == 200


async def test_an_idempotency_key_belongs_to_its_sender(kind: type[Client]) -> None:
    """A client cannot swallow a publisher's event by saying its key first."""
    keys = [new_api_key() for _ in range(2)]
    settings = {"auth_secret": SECRET, "api_keys": tuple(map(hash_api_key, keys))}
    async with running(**settings) as (server, http):
        url = server.url.rstrip("/")
        event = {"event": "paid", "idempotency_key": "paid-17"}

        async def publish(credentials: str) -> str:
            headers = {"Authorization": f"Bearer {credentials}"}
            async with http.post(f"{url}/api/publish", json=event, headers=headers) as answer:
                return str((await answer.json())["id"])

        positions = []
        for subject in ("ada", "ben", None):
            client = await kind.open(url, http, token=token(subject))
            positions.append((await client.accepted(event))["id"])
            await client.close()
        for credentials in (*keys, token("op", publish=True), token(None, publish=True)):
            positions.append(await publish(credentials))
            assert await publish(credentials) == positions[-1]
        assert len(set(positions)) == 7
        # The same subject, by another session or by the API, is the same sender; clients without
        # a subject may repeat what they sent with an earlier `sid`.
        for subject, position in zip(("ada", "ben", None), positions, strict=False):
            again = await WebSocket.open(url, http, token=token(subject))
            assert (await again.accepted(event))["id"] == position
            await again.close()
        assert await publish(token("ada", publish=True)) == positions[0]


# ---- beyond loopback ---------------------------------------------------------


async def test_listening_beyond_loopback_without_authentication_is_refused() -> None:
    with pytest.raises(StartError, match="--insecure"):
        await Server(Settings(host="0.0.0.0", port=0, log="memory:")).start()
    for settings in ({"insecure": True}, {"auth_secret": SECRET}):
        server = Server(Settings(host="0.0.0.0", port=0, log="memory:", **settings))  # type: ignore[arg-type]
        await server.start()
        await server.stop()
    server = Server(Settings(host="0.0.0.0", port=0, log="memory:"))
    server.on("connect", lambda sid, environ: False)
    await server.start()
    await server.stop()


# ---- shares ------------------------------------------------------------------


async def test_one_subject_has_its_share_of_connections(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET, max_per_subject=2) as (server, http):
        url = server.url.rstrip("/")
        clients = [await kind.open(url, http, token=token("ada")) for _ in range(2)]
        assert await refusal(server, http, kind, token=token("ada")) == "rate_limited"
        clients.append(await kind.open(url, http, token=token("ben")))
        server._hub.close(server._hub.sessions[clients[0].sid])
        clients.append(await kind.open(url, http, token=token("ada")))
        await asyncio.gather(*(client.close() for client in clients))


async def test_one_address_has_its_share_of_connections() -> None:
    async with running(max_per_address=2, trusted_proxies=("127.0.0.1",)) as (server, http):

        async def connect(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            async with http.get(f"{server.url}poll", headers=headers) as answer:
                return answer.status

        assert [await connect("203.0.113.7") for _ in range(3)] == [200, 200, 429]
        assert await connect("203.0.113.8") == 200
        assert {s.address for s in server._hub.sessions.values()} == {"203.0.113.7", "203.0.113.8"}
        # This machine's own programs are not counted.
        assert [await connect("127.0.0.1") for _ in range(3)] == [200, 200, 200]
