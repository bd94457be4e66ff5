"""Another program, run as if we were not there: its output and our signals pass through.

Rules that hold here:

- Output passes as it is, stdout to stdout and stderr to stderr. Where ours is a
  terminal the program gets one, too, so that it goes on printing its colours and
  bars; it has the size of ours.
- The program shares our input, our process group and our controlling terminal:
  it may ask for a password, and Ctrl+C and Ctrl+Z reach it as they always do.
  So a signal from the terminal is not sent on a second time.
- One thread waits for signals and for the program's end; nobody else learns
  that it has ended, so no signal goes to a stranger.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import signal
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

__all__ = ["Child"]

# Those that are sent on.
_FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_WATCHED: Final = (*_FORWARDED, signal.SIGWINCH, signal.SIGCHLD)
# Python ignores these, and a program would inherit that.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)

_CHUNK: Final = 1 << 16
# What is still read when the program has ended and left others behind who hold
# its output: so many seconds without output, so many bytes.
_AFTERWARDS: Final = 0.2
_LEFTOVERS: Final = 1 << 20


class Child:
    """A running program. Raises OSError when it cannot be started.

    From its start until the end of `relay` the calling process handles no
    signals itself.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        for number in (signal.SIGCHLD, signal.SIGWINCH):
            # Not for its sake: what is ignored by default may not be kept for who waits for it.
            signal.signal(number, lambda *_: None)
        # Where to read, and where that goes.
        self._outputs: dict[int, int] = {}
        self._code = 0
        self._over, self._ended = os.pipe()
        try:
            self._start(command)
        except OSError:
            os.close(self._ended)
            self._close()
            raise

    def _start(self, command: Sequence[str]) -> None:
        theirs = self._open_outputs()
        try:
            self._pid = self._spawn(command, theirs)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            # A script that does not say who reads it. Shells, env and nohup do this, too.
            file = shutil.which(command[0]) or command[0]
            self._pid = self._spawn(["/bin/sh", file, *command[1:]], theirs)
        finally:
            for end in set(theirs.values()):
                os.close(end)

    def _spawn(self, command: Sequence[str], theirs: Mapping[int, int]) -> int:
        return os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs[fd], fd) for fd in theirs],
            setsigmask=self._mask,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def _open_outputs(self) -> dict[int, int]:
        """What the program gets as its stdout and stderr."""
        if os.isatty(1) and os.isatty(2) and os.fstat(1).st_rdev == os.fstat(2).st_rdev:
            terminal = self._open_output(1)
            return {1: terminal, 2: terminal}
        return {fd: self._open_output(fd) for fd in (1, 2)}

    def _open_output(self, ours: int) -> int:
        if os.isatty(ours):
            read, write = os.openpty()
            settings = termios.tcgetattr(ours)
            # Our own terminal does what is to be done with newlines.
            settings[1] &= ~termios.OPOST
            termios.tcsetattr(write, termios.TCSANOW, settings)
            _copy_size(ours, read)
        else:
            read, write = os.pipe()
        self._outputs[read] = ours
        return write

    # ------------------------------------------------------------------ output

    def relay(self, take: Callable[[int, bytes], None]) -> int:
        """Until the program has ended; its exit code, 128 + N when signal N has ended it.

        `take` is given what was printed, and where: 1 or 2.
        """
        waiter = threading.Thread(target=self._attend, name="rtpush-signals", daemon=True)
        waiter.start()
        self._pass_all_on(take)
        waiter.join()
        self._close()
        return self._code

    def _pass_all_on(self, take: Callable[[int, bytes], None]) -> None:
        ready: list[int] = []
        while self._outputs and self._over not in ready:
            ready, _, _ = select.select([*self._outputs, self._over], [], [])
            self._pass_on(ready, take)
        patience, leftovers = _AFTERWARDS, _LEFTOVERS
        while self._outputs and leftovers > 0:
            begun = time.monotonic()
            ready, _, _ = select.select([*self._outputs], [], [], max(0.0, patience))
            if not ready:
                return
            patience -= time.monotonic() - begun
            leftovers -= self._pass_on(ready, take)

    def _pass_on(self, ready: Sequence[int], take: Callable[[int, bytes], None]) -> int:
        """What is there, of outputs that are ready; how many bytes it was."""
        count = 0
        for end in ready:
            if end == self._over:
                continue
            data = self._copy(end)
            count += len(data)
            if data:
                take(self._outputs[end], data)
            else:
                self._let_go(end)
        return count

    def _copy(self, end: int) -> bytes:
        """What was there; empty at the end, also when nobody reads ours any more."""
        try:
            data = os.read(end, _CHUNK)
            _write(self._outputs[end], data)
        except OSError:
            # Also how a terminal says that its other side has closed. For a pipe that
            # is ours, the program is told by SIGPIPE, as it would be without us.
            return b""
        return data

    def _let_go(self, end: int) -> None:
        del self._outputs[end]
        os.close(end)

    def _close(self) -> None:
        for end in list(self._outputs):
            self._let_go(end)
        os.close(self._over)
        # What comes when it has ended is for it, as what came before: it is not ours to obey.
        while late := signal.sigpending().intersection(_WATCHED):
            signal.sigwait(late)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    # ----------------------------------------------------------------- signals

    def _attend(self) -> None:
        while True:
            number, from_terminal = _next_signal()
            if number == signal.SIGCHLD:
                if self._has_ended():
                    os.close(self._ended)
                    return
            elif number == signal.SIGWINCH:
                self._resize()
                self._send(number)
            elif not from_terminal:
                self._send(number)

    def _send(self, number: int) -> None:
        # sudo and its like are another user's, who takes none of ours. Whoever sends
        # signals on has to go on waiting for the end.
        with suppress(PermissionError):
            os.kill(self._pid, number)

    def _has_ended(self) -> bool:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return False
        code = os.waitstatus_to_exitcode(status)
        self._code = code if code >= 0 else 128 - code
        return True

    def _resize(self) -> None:
        for end, ours in list(self._outputs.items()):
            # It may have been closed meanwhile.
            with suppress(OSError):
                if os.isatty(ours):
                    _copy_size(ours, end)


def _next_signal() -> tuple[int, bool]:
    """Wait for one; and has the terminal sent it to our whole process group?"""
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_WATCHED)
        return info.si_signo, info.si_code > 0
    # macOS does not say who has sent it. Of those, the terminal sends two.
    number = signal.sigwait(_WATCHED)
    return number, number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(0)


def _copy_size(ours: int, theirs: int) -> None:
    size = fcntl.ioctl(ours, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            # Whoever shares it has made it so.
            select.select([], [fd], [])
