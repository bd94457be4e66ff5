"""Run another program with its output passed through unchanged, on pipes or a pseudo-terminal."""

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

__all__ = ["PassthroughProcess"]

# Signals that a supervisor or a user sends to this process, and which are meant for the program.
_FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_HANDLED: Final = (*_FORWARDED, signal.SIGWINCH, signal.SIGCHLD)
# Python ignores these (pylifecycle.c), and the program would inherit that.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)

# Bytes read at once: the capacity of a pipe on Linux (pipe(7)).
_CHUNK: Final = 1 << 16
# A program that ends can leave processes behind that hold its output open. From then on we read
# for so many seconds, and so many bytes, and no longer. A shell's background job would keep us.
_DRAIN_TIME: Final = 0.2
_DRAIN_BYTES: Final = 1 << 20


class PassthroughProcess:
    """A running program, which behaves as if it had been started without us.

    - stdout goes to stdout and stderr to stderr, unchanged. Where ours is a
      terminal, the program gets a pseudo-terminal of the same size, so that it
      goes on to print colours and bars.
    - It shares our input, process group and controlling terminal: it can ask for
      a password, and the kernel sends Ctrl+C and Ctrl+Z to it as to us. So we do
      not forward a signal that comes from the terminal: it would arrive twice.
    - One thread waits for signals and for the program's end. No other code reaps
      the program, so its process id cannot be reused before a signal is sent.

    From its start until the end of `relay`, all handled signals are blocked in
    this process. Raises OSError when the program cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        for number in (signal.SIGCHLD, signal.SIGWINCH):
            # A signal without a handler that is ignored by default may not be kept for sigwait.
            signal.signal(number, lambda *_: None)
        # Our end of each output -> the descriptor to write to, 1 or 2.
        self._outputs: dict[int, int] = {}
        self._exit_code = 0
        # A pipe whose write end is closed when the program has ended, to wake `select`.
        self._exit_read, self._exit_write = os.pipe()
        try:
            self._start(command)
        except OSError:
            os.close(self._exit_write)
            self._close()
            raise

    def _start(self, command: Sequence[str]) -> None:
        ends = self._open_outputs()
        try:
            self._pid = self._spawn(command, ends)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            # A script without #!. Shells, env and nohup run it with /bin/sh, too.
            file = shutil.which(command[0]) or command[0]
            self._pid = self._spawn(["/bin/sh", file, *command[1:]], ends)
        finally:
            for end in set(ends.values()):
                os.close(end)

    def _spawn(self, command: Sequence[str], ends: Mapping[int, int]) -> int:
        return os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, fd) for fd, end in ends.items()],
            setsigmask=self._mask,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def _open_outputs(self) -> dict[int, int]:
        """Descriptor of the program, 1 or 2, -> the end to give it."""
        if os.isatty(1) and os.isatty(2) and os.fstat(1).st_rdev == os.fstat(2).st_rdev:
            terminal = self._open_output(1)
            return {1: terminal, 2: terminal}
        return {fd: self._open_output(fd) for fd in (1, 2)}

    def _open_output(self, ours: int) -> int:
        if os.isatty(ours):
            read, write = os.openpty()
            settings = termios.tcgetattr(ours)
            # The real terminal adds the carriage returns.
            settings[1] &= ~termios.OPOST
            termios.tcsetattr(write, termios.TCSANOW, settings)
            _copy_size(ours, read)
        else:
            read, write = os.pipe()
        self._outputs[read] = ours
        return write

    # ------------------------------------------------------------------ output

    def relay(self, on_output: Callable[[int, bytes], None]) -> int:
        """Pass output through until the program ends.

        Args:
            on_output: Called with the descriptor, 1 or 2, and the bytes printed there.

        Returns:
            The program's exit code; 128 + N when signal N ended it.
        """
        waiter = threading.Thread(target=self._handle_signals, name="rtpush-signals", daemon=True)
        waiter.start()
        self._relay_all(on_output)
        waiter.join()
        self._close()
        return self._exit_code

    def _relay_all(self, on_output: Callable[[int, bytes], None]) -> None:
        ready: list[int] = []
        while self._outputs and self._exit_read not in ready:
            ready, _, _ = select.select([*self._outputs, self._exit_read], [], [])
            self._relay_ready(ready, on_output)
        seconds, size = _DRAIN_TIME, _DRAIN_BYTES
        while self._outputs and size > 0:
            start = time.monotonic()
            ready, _, _ = select.select([*self._outputs], [], [], max(0.0, seconds))
            if not ready:
                return
            seconds -= time.monotonic() - start
            size -= self._relay_ready(ready, on_output)

    def _relay_ready(self, ready: Sequence[int], on_output: Callable[[int, bytes], None]) -> int:
        """Pass on what the ready outputs hold; returns the number of bytes."""
        count = 0
        for end in ready:
            if end == self._exit_read:
                continue
            data = self._copy(end)
            count += len(data)
            if data:
                on_output(self._outputs[end], data)
            else:
                self._close_output(end)
        return count

    def _copy(self, end: int) -> bytes:
        """Copy what is there; returns it. Empty at the end, and when our own output is closed."""
        try:
            data = os.read(end, _CHUNK)
            _write(self._outputs[end], data)
        except OSError:
            # Reading a pseudo-terminal whose other side is closed fails with EIO. When our own
            # pipe is closed, we close the program's, and SIGPIPE ends it as it would without us.
            return b""
        return data

    def _close_output(self, end: int) -> None:
        del self._outputs[end]
        os.close(end)

    def _close(self) -> None:
        for end in list(self._outputs):
            self._close_output(end)
        os.close(self._exit_read)
        # A signal that arrives just after the program's end was meant for the program.
        while late := signal.sigpending().intersection(_HANDLED):
            signal.sigwait(late)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    # ----------------------------------------------------------------- signals

    def _handle_signals(self) -> None:
        while True:
            number, from_terminal = _wait_for_signal()
            if number == signal.SIGCHLD:
                if self._reap():
                    os.close(self._exit_write)
                    return
            elif number == signal.SIGWINCH:
                self._resize()
                self._send(number)
            elif not from_terminal:
                self._send(number)

    def _send(self, number: int) -> None:
        # The program can belong to another user, as sudo does. This thread must go on.
        with suppress(PermissionError):
            os.kill(self._pid, number)

    def _reap(self) -> bool:
        """Whether the program has ended; keeps its exit code."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return False
        code = os.waitstatus_to_exitcode(status)
        self._exit_code = code if code >= 0 else 128 - code
        return True

    def _resize(self) -> None:
        for end, ours in list(self._outputs.items()):
            # The other thread may have closed it.
            with suppress(OSError):
                if os.isatty(ours):
                    _copy_size(ours, end)


def _wait_for_signal() -> tuple[int, bool]:
    """The next signal, and whether the kernel sent it to our whole process group."""
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_HANDLED)
        return info.si_signo, info.si_code > 0
    # macOS has no sigwaitinfo. Of the forwarded signals, a terminal sends these two.
    number = signal.sigwait(_HANDLED)
    return number, number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(0)


def _copy_size(source: int, target: int) -> None:
    size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            # Another process that shares the descriptor has made it non-blocking.
            select.select([], [fd], [])
