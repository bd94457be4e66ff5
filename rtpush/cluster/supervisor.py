"""Many processes on one port, and the one that looks after them.

Rules that hold here:

- Each worker has a listening socket of its own (SO_REUSEPORT: the kernel deals
  connections out), made by the supervisor and kept open by it. What comes
  while a worker is replaced waits in the socket: nothing is refused.
- A worker is ready when it says so. In a rolling restart its successor is,
  before it is told to stop; the next one's turn comes when it has ended.
- A worker that ends by itself is replaced: at once, unless it could not start.
- A worker says each second that its event loop turns. One that hangs keeps its
  share of new connections, and is killed and replaced.
- The supervisor starts processes and waits, and does nothing else: no event
  loop, no thread. When it is gone, its workers stop.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ..config.documentation import page
from ..config.settings import Settings
from ..unix import SUPERVISOR_SIGNALS
from .worker_process import READY, spawn

__all__ = ["Supervisor", "SupervisorError", "check_workers"]

logger = logging.getLogger("rtpush.supervisor")

# Seconds until a worker that could not start is replaced.
RESTART_DELAY: Final = 2.0
# A second signal to stop means "at once". Two within so many seconds are one:
# some send it to the process and to its group.
SIGNAL_DEBOUNCE: Final = 0.5
# A worker that says nothing for so many heartbeats hangs: its clients give it up then. But
# one is not killed for a moment in which the machine had other things to do.
HUNG_HEARTBEATS: Final = 2
HUNG_AT_LEAST: Final = 5.0


class SupervisorError(Exception):
    """Workers cannot be started. The message is one sentence that says what to do."""


@dataclass(slots=True, eq=False)
class _Worker:
    pid: int
    slot: int
    # Readable when the worker says that it is ready or alive, or has ended.
    report_pipe: int
    ready: bool = False
    # When it was last heard.
    heard: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Runs this program in as many more processes as the settings say."""

    settings: Settings
    backlog: int
    on_ready: Callable[[int], None]
    _slots: list[list[socket.socket]] = field(default_factory=list)
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _rolling: deque[_Worker] = field(default_factory=deque)
    # When the successor of a worker that ended is to be started, by slot.
    _restart_at: dict[int, float] = field(default_factory=dict)
    # When it was last seen to that no worker hangs.
    _watched: float = field(default_factory=time.monotonic)
    _stopping: bool = False
    _stopped: float = 0.0
    _code: int = 0
    _signals: int = -1
    _liveness_read: int = -1
    _liveness_write: int = -1

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises SupervisorError, OSError when it cannot listen,
        and SystemExit(1) when a worker could not start.
        """
        check_workers(self.settings)
        self._slots = self._listen()
        self._signals, wakeup = os.pipe()
        self._liveness_read, self._liveness_write = os.pipe()
        for end in (self._signals, wakeup):
            os.set_blocking(end, False)
        before = [signal.signal(number, lambda *_: None) for number in SUPERVISOR_SIGNALS]
        signal.set_wakeup_fd(wakeup)
        try:
            self._supervise()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in zip(SUPERVISOR_SIGNALS, before, strict=True):
                signal.signal(number, handler)
            for end in (self._signals, wakeup, self._liveness_read, self._liveness_write):
                os.close(end)
            for sock in (sock for slot in self._slots for sock in slot):
                sock.close()
        if self._code:
            raise SystemExit(self._code)

    # ---------------------------------------------------------------- listening

    def _listen(self) -> list[list[socket.socket]]:
        """The sockets of each worker. Raises OSError."""
        settings = self.settings
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        addresses = list(dict.fromkeys((family, address) for family, *_, address in found))
        slots: list[list[socket.socket]] = [[] for _ in range(settings.workers)]
        for family, address in addresses:
            # A server that shares its port with strangers loses connections to them.
            _bind(family, address, reuse=False).close()
            for slot in slots:
                sock = _bind(family, address, reuse=True)
                sock.listen(self.backlog)
                slot.append(sock)
                address = (address[0], sock.getsockname()[1], *address[2:])
        return slots

    @property
    def port(self) -> int:
        """The port in use."""
        port: int = self._slots[0][0].getsockname()[1]
        return port

    # --------------------------------------------------------------- supervising

    def _supervise(self) -> None:
        # One first: what keeps it from starting is then told once.
        self._start(0)
        while not self._all_ready():
            self._wait_and_act()
            if self._ended_unready():
                return
        for slot in range(1, len(self._slots)):
            self._start(slot)
        while not self._all_ready() and not self._stopping:
            self._wait_and_act()
        if not self._stopping:
            self.on_ready(self.port)
        while self._workers or not self._stopping:
            self._wait_and_act()

    def _all_ready(self) -> bool:
        return all(worker.ready for worker in self._workers.values()) and not self._restart_at

    def _ended_unready(self) -> bool:
        if self._workers:
            return False
        self._code = 0 if self._stopping else 1
        return True

    def _wait_and_act(self) -> None:
        """Wait for something to happen, and act on it."""
        report_pipes = {worker.report_pipe: worker for worker in self._workers.values()}
        wait = min((due - time.monotonic() for due in self._restart_at.values()), default=1.0)
        readable, _, _ = select.select(
            [self._signals, *report_pipes], [], [], min(1.0, max(0.0, wait))
        )
        for end in readable:
            # Looking after one that ended may have closed the pipe of another.
            if end in report_pipes and report_pipes[end].pid in self._workers:
                self._reported(report_pipes[end])
        self._kill_hung()
        if self._signals in readable:
            for number in os.read(self._signals, 1024):
                self._signalled(number)
        self._replace()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            if not self._stopping and not self._rolling:
                logger.info("workers are replaced, one at a time")
                self._rolling.extend(sorted(self._workers.values(), key=lambda w: w.slot))
                self._roll()
        elif not self._stopping or time.monotonic() > self._stopped + SIGNAL_DEBOUNCE:
            self._stopping, self._stopped = True, time.monotonic()
            self._restart_at.clear()
            for pid in self._workers:
                _signal(pid, signal.SIGTERM)

    def _reported(self, worker: _Worker) -> None:
        said = os.read(worker.report_pipe, 1024)
        worker.heard = time.monotonic()
        if not said:
            # It has ended: SIGCHLD is on its way.
            self._reap()
        elif READY in said:
            worker.ready = True
            if self._rolling and self._rolling[0].slot == worker.slot:
                _signal(self._rolling[0].pid, signal.SIGTERM)

    def _kill_hung(self) -> None:
        now = time.monotonic()
        # While the supervisor was held, as by Ctrl+Z, its workers may have been, too.
        held, self._watched = max(0.0, now - self._watched - 1.0), now
        allowed = max(HUNG_HEARTBEATS * self.settings.heartbeat, HUNG_AT_LEAST)
        for worker in self._workers.values():
            worker.heard += held
            if worker.ready and now - worker.heard > allowed:
                logger.error("worker %d hangs for %.0f s; it is killed", worker.pid, allowed)
                _signal(worker.pid, signal.SIGKILL)

    def _roll(self) -> None:
        """Start the successor of the next worker that is to go."""
        while self._rolling and self._rolling[0].pid not in self._workers:
            self._rolling.popleft()
        if self._rolling and not self._stopping:
            self._start(self._rolling[0].slot)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                worker = self._workers.pop(pid, None)
                if worker is not None:
                    os.close(worker.report_pipe)
                    self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, code: int) -> None:
        if self._stopping:
            self._code = self._code or (1 if code and worker.ready else 0)
            return
        if self._rolling and self._rolling[0] is worker:
            self._rolling.popleft()
            self._roll()
            return
        alone = not self._workers and not self._restart_at
        if alone and not worker.ready and worker.slot == 0:
            # The first of all: it has said why, unless it has done nothing.
            if code == 0:
                logger.error("a worker runs the program again: have a file that calls server.run()")
            return
        logger.error("worker %d ended with %d; another one is started", worker.pid, code)
        self._restart_at[worker.slot] = time.monotonic() + (0.0 if worker.ready else RESTART_DELAY)

    def _replace(self) -> None:
        now = time.monotonic()
        for slot, due in list(self._restart_at.items()):
            if due <= now and not self._stopping:
                del self._restart_at[slot]
                self._start(slot)

    def _start(self, slot: int) -> None:
        report_pipe, write_end = os.pipe()
        try:
            pid = spawn(self._slots[slot], self._liveness_read, write_end)
        finally:
            os.close(write_end)
        self._workers[pid] = _Worker(pid, slot, report_pipe)


def check_workers(settings: Settings) -> None:
    """Can there be as many as the settings say? Raises SupervisorError."""
    if settings.workers == 1:
        return
    if not settings.log.startswith("redis"):
        raise SupervisorError(
            f"{settings.workers} workers need a log that processes can share: say --log "
            f"redis://HOST ({page('scaling.md')}), or leave --workers out"
        )
    if not hasattr(os, "posix_spawn") or not hasattr(socket, "SO_REUSEPORT"):
        raise SupervisorError("this system cannot run several workers: leave --workers out")


def _bind(family: int, address: Any, *, reuse: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
