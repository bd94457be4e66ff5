"""Celery's tasks on the board, under Celery's own ids.

Rules that hold here:

- A task is on the board from when it is sent, so that it is seen while it waits in Celery's queue.
  Its `worker` is `celery`: no other worker takes it.
- Celery's own signals tell how a task goes on and ends. A server that is away, or refuses, never
  hinders Celery's work.
- A cancel on the board revokes the task in Celery, which ends it there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import Ignore

from ..client.simple_client import SimpleClient
from ..errors import RtpushError
from ..publisher.publisher import Publisher

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["report", "revoke_cancelled", "show_tasks"]

logger = logging.getLogger("rtpush.publisher")


def show_tasks(publisher: Publisher, names: Collection[str] | None = None) -> None:
    """Show tasks on the board. Call it where the Celery app is made: senders and workers do.

    Args:
        publisher: Publishes; each of Celery's processes has connections of its own.
        names: Celery's names of the tasks that are shown; None: all.
    """

    def tell(name: str, event: str, id_: str, **fields: Any) -> None:
        if names is not None and name not in names:
            return
        try:
            publisher.publish(event, {"id": id_, **fields})
        except RtpushError as error:
            # A task that was cancelled has ended before Celery hears of it.
            logger.debug("%s of %s is not told: %s", event, id_, error)

    def sent(sender: str, headers: dict[str, Any], **_: Any) -> None:
        form = {"prompt": f"{sender} {headers.get('argsrepr', '')}".strip()}
        tell(sender, "task_created", headers["id"], worker="celery", mode=sender, formData=form)

    def begun(sender: Any, task_id: str, **_: Any) -> None:
        tell(sender.name, "task_progress", task_id, progress=0)

    def succeeded(sender: Any, result: Any, **_: Any) -> None:
        tell(sender.name, "task_completed", sender.request.id, result=result)

    def failed(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        tell(sender.name, "task_failed", task_id, error=str(exception))

    def revoked(sender: Any, request: Any, **_: Any) -> None:
        tell(sender.name, "task_cancelled", request.id)

    for signal, handler in (
        (signals.before_task_publish, sent),
        (signals.task_prerun, begun),
        (signals.task_success, succeeded),
        (signals.task_failure, failed),
        (signals.task_revoked, revoked),
    ):
        signal.connect(handler, weak=False)


def report(
    publisher: Publisher, task: Any, progress: float, message: str | None = None, **fields: Any
) -> None:
    """Report how far a bound task is.

    Args:
        publisher: Publishes.
        task: The `self` of a task with `bind=True`.
        progress: From 0 to 100.
        message: A line for people to read; None leaves the last one.
        **fields: Fields of your own.

    Raises:
        celery.exceptions.Ignore: A client has cancelled the task. Let it pass: the work ends.
        RtpushError: As `Publisher.publish`.
    """
    told = {} if message is None else {"message": message}
    data = {"id": task.request.id, "progress": progress, **told, **fields}
    try:
        publisher.publish("task_progress", data)
    except RtpushError as error:
        if error.code == "task_cancelling":
            publisher.publish("task_cancelled", {"id": task.request.id})
        if error.code in ("task_cancelling", "task_finished"):
            raise Ignore from None
        raise


def revoke_cancelled(app: Celery, url: str | None = None, *, token: str | None = None) -> None:
    """Revoke in Celery what clients cancel, until the connection ends. Blocks: once, in a process.

    Args:
        app: Celery's app. A task that runs is terminated where its pool can (prefork).
        url: The server's address, as for `Publisher`.
        token: A token, where clients need one.

    Raises:
        ConnectError: The server cannot be reached, or refuses.
    """
    with SimpleClient() as client:
        client.connect(url, auth=token)
        for event in client.events("task_cancel"):
            if isinstance(event.data, dict):
                app.control.revoke(str(event.data.get("id")), terminate=True)
