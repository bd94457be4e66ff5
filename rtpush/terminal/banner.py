"""The banner of a server that starts, and the sentence of one that cannot listen."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path
from typing import Final

from ..config.settings import Settings
from ..version import __version__
from .text import BOLD, DIM, paint

__all__ = ["banner", "explain_bind_error", "lan_address"]

# The addresses that listen on every interface, and which to open on the same machine.
WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}

# Addresses reserved for documentation (RFC 5737, RFC 3849): the system picks a route to them,
# and no packet is sent.
UNROUTED: Final = {
    "0.0.0.0": (socket.AF_INET, "192.0.2.1"),
    "::": (socket.AF_INET6, "2001:db8::1"),
}


def banner(
    settings: Settings,
    port: int,
    prefix: str = "",
    *,
    lan: str | None = None,
    key: bool | None = None,
    colour: bool = False,
) -> str:
    """What to open, where the data is and how to stop, one aligned line each.

    Args:
        settings: What the server runs with.
        port: The port in use, also when the settings leave the choice to the system.
        prefix: The path that everything of the server is below, beside an application.
        lan: This machine's address in the local network; None when only this machine can connect.
        key: Whether publishers have a key or a token; None when they need none.
        colour: Whether the terminal shows colours.
    """
    here = _authority(WILDCARDS.get(settings.host, settings.host), port)
    tls = "" if settings.tls_cert is None else "s"
    lines = [("Open", f"http{tls}://{here}/")]
    if lan is not None:
        lines.append(("Phone", f"http{tls}://{_authority(lan, port)}/"))
    lines += [
        ("WebSocket", f"ws{tls}://{here}{prefix}/ws"),
        ("Publish", _curl(f"http{tls}://{here}{prefix}", key is not None)),
    ]
    if key is False:
        lines.append(("Key", "publishers have none: rtpush token --api-key --save, then restart"))
    lines += [("Data", _where_data_is(settings.log)), ("Stop", "Ctrl+C")]
    rows = [f"  {paint(f'{label:<9}', DIM, colour)}  {text}" for label, text in lines]
    return "\n".join([paint(f"rtpush {__version__}", BOLD, colour), *rows])


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _curl(url: str, key: bool) -> str:
    # -g: curl would read the brackets of an IPv6 address as a pattern.
    globoff = "-g " if "[" in url else ""
    bearer = "-H 'authorization: Bearer KEY' " if key else ""
    return (
        f"curl {globoff}-X POST {url}/api/publish -H 'content-type: application/json' {bearer}"
        """-d '{"event":"hello","data":"world"}'"""
    )


def _where_data_is(log: str) -> str:
    kind, _, path = log.partition(":")
    if kind == "memory":
        return "memory (gone when the server stops)"
    if kind != "sqlite":
        # Without credentials.
        return f"Redis at {path.strip('/').rpartition('@')[2]} (shared by all nodes)"
    return f"{Path(path).absolute()} (kept across restarts)"


def lan_address(host: str) -> str | None:
    """This machine's address in the local network when `host` listens everywhere, else None.

    It opens a UDP socket to ask the system for a route, and sends nothing.
    """
    if host not in UNROUTED:
        return None
    family, target = UNROUTED[host]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            address: str = probe.getsockname()[0]
    except OSError:  # no network
        return None
    return address


def explain_bind_error(exc: OSError, settings: Settings) -> str:
    """One sentence: why the server cannot listen, and what to do."""
    host, port = settings.host, settings.port
    place = f"port {port} on {host}"
    if isinstance(exc, socket.gaierror):
        return f"host {host} cannot be resolved; give an address of this machine: --host 127.0.0.1"
    if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{host} is not an address of this machine; listen on another: --host 127.0.0.1"
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"{place} needs privileges; choose one above 1023: --port 8080"
    if exc.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 5000
        way_out = f"{_occupant(port)} or choose another: --port {other}"
        return f"{place} is taken by {way_out}"
    return f"cannot listen on {place}: {exc.strerror or exc}"


def _occupant(port: int) -> str:
    if sys.platform == "darwin" and port == 5000:
        return "another program, often AirPlay Receiver; stop it (System Settings > General)"
    return "another program; stop it"
