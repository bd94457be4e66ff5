"""Start `python -m rtpush` without starting Python: fork a process that has all of it imported.

- A process that does nothing else is started once, by the first test that needs it, and imports
  what servers and commands import. It forks a child for each program. So a program costs a
  twentieth of what it costs to start Python.
- The child has the working directory, the environment and the streams that the test gives it,
  and goes on as `python -m rtpush` does, or `python -c`. It is no child of the test's process,
  so the process that has forked it reports how it ended.
- What begins differently in a new Python (flags, terminals, PYTHONIOENCODING) is not for this.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

STREAMS = ("stdin", "stdout", "stderr")


class Program:
    """A program that runs, as `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, status: IO[bytes]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self.pipes: dict[str, asyncio.ReadTransport] = {}
        self._status = status
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._loop.add_reader(status, self._end)

    def _end(self) -> None:
        self._loop.remove_reader(self._status)
        # Nothing comes from a process that was forked and then killed together with its parent.
        self.returncode = int(self._status.readline() or -signal.SIGKILL)
        self._status.close()
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end; the exit code, or the negative number of a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, given: bytes | None = None) -> tuple[bytes, bytes]:
        """Give it its input, and wait for its end; what it has written."""
        if self.stdin is not None:
            self.stdin.write(given or b"")
            self.stdin.close()
        out, errors = await asyncio.gather(_rest(self.stdout), _rest(self.stderr))
        await self.wait()
        return out, errors

    def send_signal(self, number: int) -> None:
        """To it alone. Raises ProcessLookupError when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def _rest(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


async def start(
    *argv: str,
    code: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] = os.environ,
    session: bool = False,
    **streams: int,
) -> Program:
    """Start `python -m rtpush` with these arguments, or `python -c` with this code.

    `session`: in a session of its own. `streams`: each of stdin, stdout and stderr is PIPE or
    DEVNULL, as for `asyncio.create_subprocess_exec`; without one, stdin is DEVNULL and the
    others are ours.
    """
    ours, theirs = {}, []
    for fd, name in enumerate(STREAMS):
        kind = streams.get(name, None if fd else subprocess.DEVNULL)
        if kind == subprocess.PIPE:
            ends = os.pipe()
            ours[name] = ends[not fd]
            theirs.append(ends[bool(fd)])
        else:
            theirs.append(os.dup(fd) if kind is None else os.open(os.devnull, os.O_RDWR))
    status, report = os.pipe()
    job = {
        "argv": argv,
        "code": code,
        "cwd": str(cwd or Path.cwd()),
        "env": dict(env),
        "session": session,
    }
    if not _running:
        _running.append(Forker())
    try:
        _running[0].send(job, [*theirs, report])
    finally:
        for fd in (*theirs, report):
            os.close(fd)
    said = os.fdopen(status, "rb")
    program = Program(int(said.readline()), said)
    await _connect(program, ours)
    return program


async def _connect(program: Program, ours: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    for name, fd in ours.items():
        if name == "stdin":
            transport, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(fd, "wb")
            )
            program.stdin = asyncio.StreamWriter(transport, protocol, None, loop)
        else:
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_read_pipe(lambda p=protocol: p, os.fdopen(fd, "rb"))
            program.pipes[name] = transport
            setattr(program, name, reader)


class Forker:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._stop)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def socket(self) -> int:
        """The inode of the socket to it."""
        return os.fstat(self._control.fileno()).st_ino

    def send(self, job: Any, fds: list[int]) -> None:
        body = json.dumps(job).encode()
        socket.send_fds(self._control, [len(body).to_bytes(4)], fds)
        self._control.sendall(body)

    def _stop(self) -> None:
        # It ends with its socket.
        self._control.close()
        self._process.wait()


_running: list[Forker] = []


def forker() -> Forker | None:
    """The process that forks; None when no test has needed it yet."""
    return _running[0] if _running else None


# ------------------------------------------------------- the process that forks


class Job(NamedTuple):
    """A program to be, and where to report on it."""

    argv: list[str]
    code: str | None
    cwd: str
    env: dict[str, str]
    session: bool
    streams: list[int]
    report: int


def _fork_jobs(control: socket.socket) -> Job | None:
    """Fork a process for each job; returns in such a process, and at the end of the tests."""
    reports: dict[int, int] = {}
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    with selectors.DefaultSelector() as selector, control, woken, waker:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(100)
                    _reap(reports)
                    continue
                job = _receive(control)
                if job is None:
                    return None
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    return job
                reports[pid] = job.report
                os.write(job.report, b"%d\n" % pid)
                for fd in job.streams:
                    os.close(fd)


def _receive(control: socket.socket) -> Job | None:
    header, fds, _, _ = socket.recv_fds(control, 4, len(STREAMS) + 1)
    if not header:
        return None
    body = control.recv(int.from_bytes(header), socket.MSG_WAITALL)
    return Job(**json.loads(body), streams=fds[:-1], report=fds[-1])


def _reap(reports: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            report = reports.pop(pid)
            with suppress(BrokenPipeError):
                os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(report)


def _become(job: Job) -> None:
    """What is left of the way to the program."""
    if job.session:
        os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd, stream in enumerate(job.streams):
        os.dup2(stream, fd)
    os.closerange(3, 1024)
    os.chdir(job.cwd)
    os.environ.clear()
    os.environ.update(job.env)
    sys.path[0] = job.cwd
    sys.argv = ["-c", *job.argv]
    sys.orig_argv = [sys.executable, "-m", "rtpush", *job.argv]
    # Those of the start know whether they can seek.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", 1 if "PYTHONUNBUFFERED" in job.env else -1, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    if job.code is None:
        runpy.run_module("rtpush", run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(job.code, "<string>", "exec"), vars(main))


def _import_all() -> None:
    import rtpush

    for module in pkgutil.walk_packages(rtpush.__path__, "rtpush."):
        # These are for programs that have other libraries.
        if not module.name.endswith("__main__") and ".contrib" not in module.name:
            importlib.import_module(module.name)


if __name__ == "__main__":
    _import_all()
    # The children share what is there now; collecting garbage would copy it.
    gc.freeze()
    found = _fork_jobs(socket.socket(fileno=int(sys.argv[1])))
    if found is not None:
        _become(found)
