"""Signals: a server whose terminal is closed, and one that never had any."""

from __future__ import annotations

import signal

from terminals import RTPUSH, Terminal

SERVE = (*RTPUSH, "--port=0", "--log=memory:", "--log-level=info")


async def test_a_server_ends_with_its_terminal() -> None:
    terminal = Terminal()
    async with terminal.running(*SERVE):
        await terminal.shows(r"Ctrl\+C")
        # By itself, SIGHUP asks for nothing but the certificate.
        terminal.signal(signal.SIGHUP)
        await terminal.shows("no certificate to read again")
        terminal.close()
        assert await terminal.ended() == 0
