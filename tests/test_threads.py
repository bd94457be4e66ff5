"""Threads that nothing waits for at the end of a process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import CancelledError
from threading import Event, current_thread

import pytest

from rtpush.threads import DaemonExecutor


def test_jobs_share_the_threads_there_are() -> None:
    threads = DaemonExecutor(2, "some")
    assert threads.submit(divmod, 7, 2).result() == (3, 1)
    barrier = [Event(), Event()]

    def meet(own: int) -> str:
        barrier[own].set()
        assert barrier[1 - own].wait(10)
        return current_thread().name

    names = {one.result() for one in [threads.submit(meet, n) for n in (0, 1)]}
    assert names == {"some_0", "some_1"}
    assert {threads.submit(lambda: current_thread().name).result() for _ in range(20)} <= names
    threads.shutdown()


def test_what_a_job_raises_is_its_result() -> None:
    threads = DaemonExecutor(1, "some")
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result()
    assert threads.submit(divmod, 1, 1).result() == (1, 0)
    threads.shutdown()


def test_after_the_shutdown_jobs_are_refused_and_waiting_ones_cancelled() -> None:
    threads, go = DaemonExecutor(1, "some"), Event()
    running, waiting = threads.submit(go.wait, 10), threads.submit(divmod, 1, 1)
    while not running.running():
        pass
    threads.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(RuntimeError):
        threads.submit(divmod, 1, 1)
    with pytest.raises(CancelledError):
        waiting.result()
    go.set()
    assert running.result() is True
    threads.shutdown()


def test_a_process_ends_while_a_job_runs() -> None:
    program = (
        "import threading, rtpush.threads as t; s = threading.Event();"
        "t.DaemonExecutor(1, 'some').submit(lambda: (s.set(), threading.Event().wait()));"
        "s.wait(); print('end')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"end\n", b"")
