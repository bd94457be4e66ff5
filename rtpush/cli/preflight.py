"""Preflight checks: would a server start here, and is it safe on a public network?

Nothing is changed: a log in a file is opened only when the file exists, and a
log in Redis is only asked for its state.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..access.addresses import is_loopback
from ..access.auth import Authenticator, AuthError, publishers_have_key
from ..access.tls import TlsError, make_context
from ..cluster.supervisor import SupervisorError, check_workers
from ..config.settings import Settings
from ..log.base import LogError
from ..log.disk_reserve import DiskReserve
from ..log.factory import make_log
from ..server import Server, StartError, authenticates_clients, check_exposure
from ..terminal.banner import explain_bind_error
from ..unix import connections_allowed
from ..web.static import check_client_dir

__all__ = ["exposure_problems", "start_problems"]

_START_ERRORS: Final = (StartError, SupervisorError, TlsError, AuthError, LogError)


async def start_problems(server: Server) -> list[str]:
    """What would keep the server from starting, a sentence each that says what to do."""
    settings = server.settings
    problems = [
        *_check_port(settings),
        *_check_file_limit(settings),
        *_check_rooms(server),
    ]
    with _collect(problems):
        check_exposure(server)
    with _collect(problems):
        check_workers(settings)
    with _collect(problems):
        make_context(settings)
    with _collect(problems):
        await Authenticator(settings).begin()
    with _collect(problems):
        if settings.client is not None:
            check_client_dir(settings.client, settings.log)
    with _collect(problems):
        await _check_log(settings)
    return problems


@contextmanager
def _collect(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except _START_ERRORS as exc:
        problems.append(str(exc))


async def _check_log(settings: Settings) -> None:
    """Raises LogError."""
    scheme, _, path = settings.log.partition(":")
    log = make_log(settings)
    if scheme == "sqlite" and _log_exists(path):
        await log.open()
        await log.close()
    elif scheme not in ("sqlite", "memory"):
        from ..log.redis.log import RedisLog

        assert isinstance(log, RedisLog)
        await log.reach()


def _log_exists(path: str) -> bool:
    """Whether the file exists. Raises LogError when it could not be created."""
    folder = Path(path).absolute().parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise LogError(
            f"the log {path} cannot be created: {folder} is not a directory that can be "
            "written; create it, or choose another file with --log sqlite:PATH"
        )
    return os.path.exists(path)


def _check_reserve(settings: Settings) -> Iterator[str]:
    scheme, _, path = settings.log.partition(":")
    has_disk = scheme == "sqlite" and Path(path).absolute().parent.is_dir()
    if has_disk and not DiskReserve(Path(path)).fits():
        yield (
            f"the disk of the log {path} has too little room for {path}-reserve, without which a "
            "full log cannot be trimmed; make room, or choose another disk"
        )


def _check_port(settings: Settings) -> Iterator[str]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as exc:
        yield explain_bind_error(exc, settings)


def _check_file_limit(settings: Settings) -> Iterator[str]:
    # By default the server takes as many as there are files for.
    if settings.max_connections == Settings().max_connections:
        return
    allowed = connections_allowed(settings, hard=True)
    if allowed < settings.max_connections:
        yield (
            f"this process may open files for {allowed} connections and max_connections is "
            f"{settings.max_connections}; raise the limit (ulimit -n, LimitNOFILE) or lower it"
        )


def _check_rooms(server: Server) -> Iterator[str]:
    """Rules of rooms that nobody could enter."""
    settings = server.settings
    for rule in settings.rooms:
        where = f'rooms."{rule.pattern}"'
        if rule.enter == "token" and not (settings.auth_secret or settings.auth_keys):
            yield f"{where}: clients enter by token, and there are none; set auth_secret"
        if rule.enter == "handler" and not server._handlers.has("join"):
            yield f"{where}: a `join` handler decides, and the server has none; add one"


def exposure_problems(server: Server) -> Iterator[str]:
    """What is unsafe on a public network, a sentence each that says what to do."""
    settings = server.settings
    if settings.insecure:
        yield "insecure lets everybody do everything; set auth_secret or auth_keys instead"
    elif not authenticates_clients(server):
        yield (
            "clients are not asked who they are; set auth_secret or auth_keys, or have a connect "
            "handler of your own ask (rtpush check app:server)"
        )
    if not publishers_have_key(settings):
        yield "publishers have no key; make one: rtpush token --api-key --save, or set api_keys"
    if settings.token_in_query:
        yield "token_in_query is on: addresses, and tokens with them, end up in logs of proxies"
    if "*" in settings.allow_origins:
        yield "allow_origins lets pages of every site in; list yours"
    if "*" in settings.relay:
        yield "relay lets clients send every event to each other; list those that they need"
    if settings.tls_cert is None and not is_loopback(settings.host):
        yield "there is no TLS between clients and this server; set tls_cert, or use a proxy"
    if settings.tls_cert is None and not settings.trusted_proxies:
        yield "no proxy is trusted: behind one, all clients have its address; set trusted_proxies"
    yield from _check_reserve(settings)
    if settings.log == "memory:":
        yield "the log forgets everything when the server stops; use sqlite:PATH"
    if settings.demo:
        yield "the demo's worker draws whatever it is asked for; leave demo out"
