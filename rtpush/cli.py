"""The command line: from settings to a running server and back to an exit code.

Rules that hold here:

- What the user can put right is told in one line on stderr that says how,
  without a traceback. Exit code 2: the settings are wrong; 1: the server could
  not start; 0: it ran and was stopped.
- stdout carries the banner, once the server really answers; messages go to
  stderr.
- `banner` and `explain_bind_error` only make text: no socket is touched.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from . import __version__
from .config import ConfigError, Settings, load

__all__ = ["banner", "explain_bind_error", "main"]

# An address that listens everywhere, and the one to open on this machine.
WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}

# Addresses reserved for documentation: the system picks a route to them, and
# no packet is sent.
FAR_AWAY: Final = {
    "0.0.0.0": (socket.AF_INET, "192.0.2.1"),
    "::": (socket.AF_INET6, "2001:db8::1"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; returns the exit code."""
    try:
        settings = load(argv, os.environ, Path.cwd())
    except ConfigError as exc:
        return _complain(exc.problems, 2)
    _set_up_logging(settings.log_level)
    try:
        return _run(settings)
    except KeyboardInterrupt:
        return 130


def _run(settings: Settings) -> int:
    # Here and not above, so that --help and a typo are answered at once.
    from .errors import RtpushError
    from .log import LogError
    from .server import Server

    ready = False

    def on_ready() -> None:
        nonlocal ready
        ready = True
        # What is here now stays; the collector need not look at it again.
        gc.freeze()
        lan = lan_address(settings.host)
        print(banner(settings, server.port, lan=lan, colour=_has_colours()), flush=True)

    server = Server(settings)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve(on_ready=on_ready))
    except (LogError, RtpushError) as exc:
        return _complain([exc.message if isinstance(exc, RtpushError) else str(exc)], 1)
    except OSError as exc:
        if ready:
            raise
        return _complain([explain_bind_error(exc, settings)], 1)
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows, and machines for which it is not built
        return None
    return uvloop.new_event_loop


def _complain(problems: Iterable[str], code: int) -> int:
    for problem in problems:
        print("rtpush:", " ".join(problem.split()), file=sys.stderr)
    return code


def _set_up_logging(level: str) -> None:
    ours = logging.getLevelNamesMapping()[level.upper()]
    # Libraries are heard when something is wrong; "debug" is about rtpush.
    logging.basicConfig(
        level=max(ours, logging.WARNING),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("rtpush").setLevel(ours)


# ---- what the user reads -----------------------------------------------------


def banner(settings: Settings, port: int, *, lan: str | None = None, colour: bool = False) -> str:
    """What to open, where the data is and how to stop, one aligned line each.

    `port` is the port in use and `lan` this machine's address for others.
    """
    here = _authority(WILDCARDS.get(settings.host, settings.host), port)
    lines = [("Open", f"http://{here}/")]
    if lan is not None:
        lines.append(("Phone", f"http://{_authority(lan, port)}/"))
    lines += [
        ("WebSocket", f"ws://{here}/ws"),
        ("Publish", _curl(f"http://{here}")),
        ("Data", _where_data_is(settings.log)),
        ("Stop", "Ctrl+C"),
    ]
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if colour else ("", "", "")
    rows = [f"  {dim}{label:<9}{plain}  {text}" for label, text in lines]
    return "\n".join([f"{bold}rtpush {__version__}{plain}", *rows])


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _curl(url: str) -> str:
    # -g: curl would read the brackets of an IPv6 address as a pattern.
    globoff = "-g " if "[" in url else ""
    return (
        f"curl {globoff}-X POST {url}/api/publish -H 'content-type: application/json' "
        """-d '{"event":"hello","data":"world"}'"""
    )


def _where_data_is(log: str) -> str:
    kind, _, path = log.partition(":")
    if kind == "memory":
        return "memory (gone when the server stops)"
    return f"{Path(path).absolute()} (kept across restarts)"


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def lan_address(host: str) -> str | None:
    """This machine's address for others when `host` listens everywhere, else None."""
    if host not in FAR_AWAY:
        return None
    family, target = FAR_AWAY[host]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            address: str = probe.getsockname()[0]
    except OSError:  # no network
        return None
    return address


def explain_bind_error(exc: OSError, settings: Settings) -> str:
    """One sentence: why the server cannot listen, and the way out."""
    host, port = settings.host, settings.port
    place = f"port {port} on {host}"
    if isinstance(exc, socket.gaierror):
        return f"host {host} cannot be resolved; give an address of this machine: --host 127.0.0.1"
    if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{host} is not an address of this machine; listen on another: --host 127.0.0.1"
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"{place} needs privileges; choose one above 1023: python -m rtpush --port 8080"
    if exc.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 5000
        return (
            f"{place} is taken by {_taker(port)} or choose another: python -m rtpush --port {other}"
        )
    return f"cannot listen on {place}: {exc.strerror or exc}"


def _taker(port: int) -> str:
    if sys.platform == "darwin" and port == 5000:
        return "another program, often AirPlay Receiver; stop it (System Settings > General)"
    return "another program; stop it"
