"""Threads that a process does not wait for when it ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

__all__ = ["DaemonExecutor"]

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple[Future[Any], Callable[[], Any]]


class DaemonExecutor(ThreadPoolExecutor):
    """An executor whose threads end with the process, whatever they are at.

    Python waits at its exit for the threads of a ThreadPoolExecutor. An application whose
    function never returns, or a disk that hangs, would keep a server that has stopped.

    Args:
        most: Threads at most. They are started when they are needed.
        name: What the threads' names begin with.
        patient: Whether `shutdown` waits for the jobs that run, when it is asked to. An event
            loop that closes asks its default executor.
    """

    def __init__(self, most: int, name: str, *, patient: bool = True) -> None:
        super().__init__(most, name)
        self._patient = patient
        self._most = most
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started: list[Thread] = []
        # As many as threads that wait for a job.
        self._free = Semaphore(0)
        self._closed = False
        self._guard = Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See Executor."""
        future: Future[T] = Future()
        with self._guard:
            if self._closed:
                raise RuntimeError("no job can be given after the shutdown")
            self._jobs.put((future, partial(fn, *args, **kwargs)))
            if not self._free.acquire(blocking=False) and len(self._started) < self._most:
                self._start()
        return future

    def _start(self) -> None:
        name = f"{self._name}_{len(self._started)}"
        thread = Thread(target=self._run, name=name, daemon=True)
        self._started.append(thread)
        thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(*job)
            # It holds its arguments.
            del job
            self._free.release()
        self._jobs.put(None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See Executor."""
        with self._guard:
            self._closed = True
        if cancel_futures:
            with suppress(Empty):
                while True:
                    job = self._jobs.get_nowait()
                    if job is not None:
                        job[0].cancel()
        self._jobs.put(None)
        for thread in self._started if wait and self._patient else ():
            thread.join()


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as exc:
        future.set_exception(exc)
