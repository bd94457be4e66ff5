"""Who a client is, by its token or key, and what it may do.

Rules that hold here:

- A token becomes a `Grant` or is refused; nothing else of it is looked at, and
  it is never part of a message that could be logged.
- A key says which algorithm it is for, and the token does not: `none`, or a
  public key taken for a secret, cannot be asked for (RFC 8725, section 3.1).
- Without any key configured, every client may do everything: that is for
  development, and refused beyond loopback (see `server`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from ..config.settings import Settings
from ..errors import RtpushError
from ..patterns import matches_any
from .callers import is_private
from .key_file import KeyFileError, key_file_of, read_key_file
from .key_scope import CLIENTS, scope_of_subject

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = [
    "OPEN",
    "AuthError",
    "Authenticator",
    "Grant",
    "hash_api_key",
    "new_api_key",
    "publishers_have_key",
]

logger = logging.getLogger("rtpush.auth")

# One algorithm for each type of key.
ALGORITHMS: Final = {"oct": "HS256", "RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
# RFC 7518, section 3.2: a key of at least the hash's size.
SHORTEST_SECRET: Final = 32
MAX_TOKEN: Final = 4 << 10
# Seconds after which keys from an address are fetched anew, and the shortest
# time between two tries: a token with a key id that nobody knows must not
# make the server fetch without end.
REFRESH_AFTER: Final = 3600.0
REFRESH_AT_MOST_EVERY: Final = 10.0


class AuthError(Exception):
    """Authentication cannot be set up. The message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows.

    `rooms` and `emit` are patterns (`*` stands for any characters) of rooms that the
    client may enter, and of events that it may send. `rooms` is None when the token says
    nothing of rooms. `publish` allows the HTTP API. `expires` is when the server stops to
    accept the token, its leeway included, in seconds since 1970; None for never. `presence` is
    what members of its rooms are told of the client; None: the token makes it no member.
    """

    subject: str | None = None
    rooms: tuple[str, ...] | None = None
    emit: tuple[str, ...] = ("*",)
    publish: bool = False
    expires: float | None = None
    presence: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def key_scope(self) -> str:
        """Whose the idempotency keys are that a client with this grant sends."""
        return CLIENTS if self.subject is None else scope_of_subject(self.subject)

    def lists(self, room: str) -> bool:
        """Does the token list this room in `rooms`?"""
        return self.rooms is not None and matches_any(self.rooms, room)

    def check_event(self, event: str) -> None:
        """Raises RtpushError (`forbidden`)."""
        if not matches_any(self.emit, event):
            raise RtpushError("forbidden", "The token does not list this event in `emit`.")


# What everybody may do where nothing is configured.
OPEN: Final = Grant(publish=True)


def new_api_key() -> str:
    """256 random bits for a publisher."""
    return f"rtpk_{secrets.token_urlsafe(32)}"


def hash_api_key(key: str) -> str:
    """What the setting `api_keys` holds. A random key needs no slow hash: it cannot be guessed."""
    # A header's bytes need not be UTF-8.
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def publishers_have_key(settings: Settings) -> bool | None:
    """Is there a key or a token that opens the HTTP API? None when nobody needs one."""
    if settings.auth_secret or settings.auth_keys or settings.api_keys:
        return True
    if key_file_of(settings.log, Path.cwd()).exists():
        return True
    return None if settings.insecure or is_private(settings) else False


class Authenticator:
    """Checks tokens and API keys. `begin` before use, `close` after."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = settings.auth_keys
        # Hashes: those of the settings, and that of the key file.
        self._api_keys = settings.api_keys
        self._keys: list[PyJWK] = []
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()

    @property
    def wants_tokens(self) -> bool:
        """Must clients bring one?"""
        return bool(self._settings.auth_secret or self._source)

    @property
    def guards_api(self) -> bool:
        """Is there a key or a token that opens the HTTP API?"""
        return self.wants_tokens or bool(self._api_keys)

    async def begin(self) -> None:
        """Read the keys. Raises AuthError."""
        try:
            key = read_key_file(key_file_of(self._settings.log, Path.cwd()))
        except KeyFileError as exc:
            raise AuthError(str(exc)) from exc
        if key is not None:
            self._api_keys = (*self._settings.api_keys, hash_api_key(key))
        if not self.wants_tokens:
            return
        if find_spec("jwt") is None:
            raise AuthError("tokens need PyJWT; install it: pip install 'rtpush[jwt]'")
        secret = self._settings.auth_secret
        if secret and len(secret.encode()) < SHORTEST_SECRET:
            raise AuthError(
                f"auth_secret has fewer than {SHORTEST_SECRET} bytes; make one: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        if self._source and not self._is_address:
            try:
                self._keys = _read_file(self._source)
            except (OSError, ValueError, RecursionError) as exc:
                raise AuthError(f"auth_keys: {self._source} holds no usable keys ({exc})") from exc
        elif self._source:
            await self._refresh()

    @property
    def _is_address(self) -> bool:
        return self._source.startswith(("https://", "http://"))

    # --------------------------------------------------------------- API keys

    def is_api_key(self, key: str) -> bool:
        """Is this one of the configured keys? In constant time for each."""
        given = hash_api_key(key)
        return any(hmac.compare_digest(given, known) for known in self._api_keys)

    # ----------------------------------------------------------------- tokens

    async def grant(self, token: str | None) -> Grant:
        """What a token allows. Raises RtpushError (`not_authenticated`, `unavailable`)."""
        if not self.wants_tokens:
            return OPEN
        if not token:
            raise RtpushError(
                "not_authenticated", "A token is needed: send it as `Authorization: Bearer`."
            )
        if len(token) > MAX_TOKEN:
            raise RtpushError("not_authenticated", "The token is too long.")
        if not token.isascii():
            raise RtpushError("not_authenticated", "The token is not valid: it is malformed.")
        return self._decode(token, await self._keys_for(token))

    def _grant_of(self, claims: dict[str, Any]) -> Grant:
        subject = claims.get("sub")
        emit = _patterns(claims, "emit")
        return Grant(
            subject if isinstance(subject, str) else None,
            _patterns(claims, "rooms"),
            ("*",) if emit is None else emit,
            claims.get("publish") is True,
            # What is let in within the leeway must not be cut before the leeway is over.
            float(claims["exp"]) + self._settings.auth_leeway,
            _presence(claims),
        )

    def _decode(self, token: str, keys: Sequence[tuple[Any, str]]) -> Grant:
        import jwt

        why = "no key fits it"
        for key, algorithm in keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=self._settings.auth_audience or None,
                    leeway=self._settings.auth_leeway,
                    options={"require": ["exp"]},
                )
                return self._grant_of(claims)
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
                continue
            except RtpushError:
                raise
            except Exception as exc:
                # A token holds anything: an `exp` of 1e400 or JSON that is nested too deeply
                # makes the library raise errors that are not its own. Of what an error says,
                # only the kind is told: a message may quote the token.
                why = _EXPLAINED.get(type(exc).__name__, "it is malformed")
                break
        raise RtpushError("not_authenticated", f"The token is not valid: {why}.")

    async def _keys_for(self, token: str) -> list[tuple[Any, str]]:
        """The keys that may have signed a token, each with its algorithm."""
        kid = _key_id(token)
        found = self._known(kid)
        stale = time.monotonic() - self._fetched > REFRESH_AFTER
        if self._is_address and (stale or not found):
            await self._refresh()
            found = self._known(kid)
        if self._settings.auth_secret:
            found.append((self._settings.auth_secret, "HS256"))
        if not found and self._is_address and not self._keys:
            raise RtpushError("unavailable", "The keys for tokens cannot be fetched; try again.")
        return found

    def _known(self, kid: str | None) -> list[tuple[Any, str]]:
        return [
            (key.key, ALGORITHMS[key.key_type or ""])
            for key in self._keys
            if kid is None or key.key_id is None or key.key_id == kid
        ]

    async def _refresh(self) -> None:
        async with self._fetching:
            if time.monotonic() - self._fetched < REFRESH_AT_MOST_EVERY:
                return
            self._fetched = time.monotonic()
            try:
                timeout = aiohttp.ClientTimeout(total=5)
                async with (
                    aiohttp.ClientSession(timeout=timeout) as http,
                    http.get(self._source) as answer,
                ):
                    answer.raise_for_status()
                    self._keys = _read_keys(await answer.text())
            except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as exc:
                logger.warning("keys cannot be fetched from %s: %s", self._source, exc)


_EXPLAINED: Final = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidAudienceError": "it is for another audience (`aud`)",
    "MissingRequiredClaimError": "it has no `exp`, or no `aud`",
}


def _read_keys(text: str) -> list[PyJWK]:
    """The keys of a JWK set (RFC 7517). Raises ValueError, or RecursionError for deep JSON.

    Keys that cannot be used are ignored (section 5): a new kind of key in the set must not
    lock out the tokens of the others.
    """
    given = json.loads(text)
    entries = given.get("keys", [given]) if isinstance(given, dict) else None
    if not isinstance(entries, list):
        raise ValueError("a JWK set is an object with a list of `keys`")
    found = [key for entry in entries if (key := _read_key(entry)) is not None]
    if not found:
        raise ValueError("no usable key of the kinds oct, RSA, EC and OKP")
    return found


def _read_key(entry: Any) -> PyJWK | None:
    """One key of a set; None when it is not for signatures, or cannot be used."""
    from jwt import PyJWK

    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kind = entry.get("kty")
    algorithm = ALGORITHMS.get(kind) if isinstance(kind, str) else None
    if algorithm is None:
        return None
    try:
        return PyJWK(entry, algorithm)
    except Exception as exc:
        # The library raises errors of many kinds here. What a secret key holds is not told.
        name = type(exc).__name__
        logger.warning("a key of kind %s is ignored: it is malformed (%s)", kind, name)
        return None


def _read_file(path: str) -> list[PyJWK]:
    return _read_keys(Path(path).read_text())


def _key_id(token: str) -> str | None:
    import jwt

    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except Exception:
        # As in `_decode`: malformed in a way that the library did not expect.
        return None
    return kid if isinstance(kid, str) else None


def _patterns(claims: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise RtpushError("not_authenticated", f"The token's `{name}` is not a list of names.")


def _presence(claims: dict[str, Any]) -> Mapping[str, Any] | None:
    value = claims.get("presence")
    if value is None or isinstance(value, dict):
        return value
    raise RtpushError("not_authenticated", "The token's `presence` is not an object.")
