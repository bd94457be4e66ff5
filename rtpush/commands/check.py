"""`rtpush check`: would the server start here, and is it fit for others?

Rules that hold here:

- Nothing is changed: the log is opened only when it exists, and closed again.
- Each finding is one line that says what to do. Exit code 1 when there is one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..auth import Authenticator, AuthError
from ..banner import explain_bind_error
from ..config import ConfigError, Settings, load
from ..log import LogError
from ..logs import make_log
from ..origins import is_loopback
from ..tls import TlsError, make_context

__all__ = ["main", "unfit"]


HELP = """\
usage: python -m rtpush check [--production] [options of the server]

Says whether the server would start with these settings: whether they are sound,
the log can be opened, the port is free, certificate and keys can be used. With
--production also what strangers who reach the server should not find.
Exit code 0 when everything is fit, else 1; each finding is a line on stderr.
"""


def main(argv: Sequence[str]) -> int:
    """Print what is wrong, or that nothing is."""
    if {"-h", "--help"} & set(argv):
        print(HELP, end="")
        return 0
    production = "--production" in argv
    flags = [arg for arg in argv if arg != "--production"]
    try:
        settings = load(flags, os.environ, Path.cwd())
    except ConfigError as exc:
        found = exc.problems
    else:
        found = [*asyncio.run(_problems(settings)), *(unfit(settings) if production else ())]
    for problem in found:
        print("rtpush:", problem, file=sys.stderr)
    if not found:
        print("rtpush: everything is fit" + (" for production" if production else ""))
    return 1 if found else 0


async def _problems(settings: Settings) -> list[str]:
    """Why the server would not start."""
    found = [*_port(settings), *_descriptors(settings)]
    try:
        make_context(settings)
    except TlsError as exc:
        found.append(str(exc))
    try:
        await Authenticator(settings).begin()
    except AuthError as exc:
        found.append(str(exc))
    if _has_log(settings):
        log = make_log(settings)
        try:
            await log.open()
        except LogError as exc:
            found.append(str(exc))
        else:
            await log.close()
    return found


def _has_log(settings: Settings) -> bool:
    scheme, _, path = settings.log.partition(":")
    return scheme == "sqlite" and Path(path).exists()


def _port(settings: Settings) -> Iterator[str]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as exc:
        yield explain_bind_error(exc, settings)


def _descriptors(settings: Settings) -> Iterator[str]:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some are files, and some belong to connections that are not let in yet.
    if limit != resource.RLIM_INFINITY and limit < settings.max_connections + 100:
        yield (
            f"this process may open {limit} files and max_connections is "
            f"{settings.max_connections}; raise the limit (ulimit -n, LimitNOFILE) or lower it"
        )


def unfit(settings: Settings) -> Iterator[str]:
    """What others should not find: for a server that strangers can reach."""
    if settings.insecure:
        yield "insecure lets everybody do everything; set auth_secret or auth_keys instead"
    elif not (settings.auth_secret or settings.auth_keys):
        yield (
            "clients are not asked who they are; set auth_secret or auth_keys, unless the "
            "application's connect handler asks"
        )
    if not (settings.auth_secret or settings.auth_keys or settings.api_keys):
        yield "publishers have no key; make one with rtpush token --api-key and set api_keys"
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
    if settings.log == "memory:":
        yield "the log forgets everything when the server stops; use sqlite:PATH"
    if settings.demo:
        yield "the demo's worker draws whatever it is asked for; leave demo out"
