"""What a token allows and which key checks it, without a server."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from rtpush.access import auth
from rtpush.access.auth import MAX_TOKEN, SHORTEST_SECRET, Authenticator, AuthError, Grant
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError

SECRET = "a secret of more than thirty-two bytes"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
EXPIRES = time.time() + 3600


def signed(key: Any = SECRET, header: Any = None, **claims: Any) -> str:
    claims = {"sub": "ada", "exp": EXPIRES, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, "HS256" if key == SECRET else "ES256", headers=header)


async def begun(**settings: Any) -> Authenticator:
    made = Authenticator(Settings(log="memory:", **settings))
    await made.begin()
    return made


# ---- what a token allows -------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(exp=time.time() - 60), "it has expired"),
        (signed(nbf=time.time() + 1800), "it is not valid yet"),
        (signed(exp=None), "it has no `exp`"),
        (signed(rooms="a,b"), "`rooms` is not a list of names"),
        (signed(rooms=["a", 5]), "`rooms` is not a list of names"),
        (signed(emit={"x": 1}), "`emit` is not a list of names"),
        ("a.b.c", "it is malformed"),
        ("é", "it is malformed"),
    ],
    ids=["expired", "early", "endless", "text", "number", "object", "nonsense", "no ASCII"],
)
async def test_a_token_that_is_not_valid_is_told_why(token: str, why: str) -> None:
    made = await begun(auth_secret=SECRET)
    with pytest.raises(RtpushError, match=why) as refused:
        await made.grant(token)
    assert refused.value.code == "not_authenticated"


async def test_a_grant_is_what_the_token_says() -> None:
    made = await begun(auth_secret=SECRET, auth_leeway=30)
    token = signed(rooms=["a", "b*"], emit=["x"], publish=True)
    assert await made.grant(token) == Grant("ada", ("a", "b*"), ("x",), True, EXPIRES + 30)


async def test_a_token_has_a_longest_length() -> None:
    made = await begun(auth_secret=SECRET)
    spare = MAX_TOKEN - len(signed(filler=""))
    # Four characters of a token hold three of its text.
    for size in range(spare * 3 // 4 - 4, spare * 3 // 4 + 5):
        token = signed(filler="x" * size)
        if len(token) <= MAX_TOKEN:
            assert (await made.grant(token)).subject == "ada"
        else:
            with pytest.raises(RtpushError, match="too long"):
                await made.grant(token)


def test_no_subject_shares_the_keys_of_clients_without_one() -> None:
    scopes = {Grant(subject=subject).key_scope for subject in (None, "None", "", "ada")}
    assert len(scopes) == 4


# ---- what it begins with -------------------------------------------------------


async def test_only_tokens_need_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "find_spec", lambda _name: None)
    await begun()
    with pytest.raises(AuthError, match="need PyJWT"):
        await begun(auth_secret=SECRET)


async def test_the_shortest_secret() -> None:
    await begun(auth_secret="s" * SHORTEST_SECRET)
    with pytest.raises(AuthError, match="fewer than"):
        await begun(auth_secret="s" * (SHORTEST_SECRET - 1))


@pytest.mark.parametrize(
    "text",
    ["[]", "7", '{"keys": 5}', '{"keys": []}', json.dumps(PUBLIC | {"use": "enc"}), "[" * 10_000],
    ids=["list", "number", "no list", "empty", "for encryption", "deep"],
)
async def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(AuthError, match="no usable keys"):
        await begun(auth_keys=str(tmp_path / "keys"))


async def test_a_single_key_is_a_set(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(json.dumps(PUBLIC | {"use": "sig"}))
    made = await begun(auth_keys=str(tmp_path / "keys"))
    assert (await made.grant(signed(PRIVATE))).subject == "ada"


@pytest.mark.parametrize("key_id", [None, "one"])
@pytest.mark.parametrize("token_id", [None, "one", "two"])
async def test_a_key_is_found_by_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key_id: str | None, token_id: str | None
) -> None:
    kept = PUBLIC if key_id is None else PUBLIC | {"kid": key_id}
    (tmp_path / "keys").write_text(json.dumps({"keys": [kept, {"kty": "new"}]}))
    made = await begun(auth_keys=str(tmp_path / "keys"))
    token = signed(PRIVATE, None if token_id is None else {"kid": token_id})
    if (key_id, token_id) == ("one", "two"):
        with pytest.raises(RtpushError, match="no key fits it"):
            await made.grant(token)
    else:
        assert (await made.grant(token)).subject == "ada"
    assert caplog.records == []


# ---- keys from an address ------------------------------------------------------


class KeyServer:
    """Serves a JWK set."""

    def __init__(self) -> None:
        self.keys: list[Any] = [PUBLIC | {"kid": "one"}]
        self.status = 200
        self.fetched = 0
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.fetched += 1
        return web.json_response({"keys": self.keys}, status=self.status)


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    found = KeyServer()
    app = web.Application()
    app.router.add_get("/keys", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield found
    await runner.cleanup()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=1_000_000.0)
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


async def test_keys_are_fetched_at_the_start_and_when_they_are_old(
    key_server: KeyServer, clock: SimpleNamespace
) -> None:
    made = await begun(auth_keys=key_server.url)
    assert key_server.fetched == 1
    token = signed(PRIVATE, {"kid": "one"})
    for passed, fetched in ((0, 1), (auth.REFRESH_AFTER - 1, 1), (2, 2)):
        clock.seconds += passed
        await made.grant(token)
        assert key_server.fetched == fetched


async def test_an_answer_that_is_an_error_holds_no_keys(key_server: KeyServer) -> None:
    key_server.status = 500
    made = await begun(auth_keys=key_server.url)
    with pytest.raises(RtpushError, match="cannot be fetched"):
        await made.grant(signed(PRIVATE))


async def test_a_secret_needs_no_keys_from_an_address(caplog: pytest.LogCaptureFixture) -> None:
    await begun(auth_secret=SECRET)
    assert caplog.records == []
    for address in ("http://127.0.0.1:9/keys", "https://127.0.0.1:9/keys"):
        made = await begun(auth_secret=SECRET, auth_keys=address)
        assert (await made.grant(signed())).subject == "ada"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
