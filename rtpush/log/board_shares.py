"""Shares of the task board: how much of it each account has, and may have.

Rules that hold here:

- A task counts in the share of the account that began it, until it ends. Its bytes count in
  the share of the account whose events brought them: no account pays for more than it sent,
  so nobody can fill the share of another by making its tasks grow.
- What makes a task smaller gives back what its own account pays for it, then what others pay.
- What all accounts pay for a task is its size, and what they pay for all is the board's.
- Limits are asked only in `check`; counting never refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Final, NamedTuple

from ..errors import RtpushError
from .accounts import LOCAL_CLIENTS, Shares, is_client
from .task import Charges, Task

__all__ = ["BoardShares", "Holding", "charged"]

# As many accounts can have nine tenths of the board: what yet another client adds to the same
# task counts for all clients together, so that no task has a list without end.
MAX_PAYERS: Final = 16


class Holding(NamedTuple):
    """Active tasks, and bytes of active tasks."""

    tasks: int
    size: int


NOTHING: Final = Holding(0, 0)


def charged(charges: Charges, account: str, growth: int) -> Charges:
    """Who pays for a task after an account has made it grow, or shrink."""
    if not charges:
        return ((account, growth),)
    if not growth:
        return charges
    if len(charges) == 1 and charges[0][0] == account:
        return ((account, charges[0][1] + growth),)
    payer, sizes = _payer(charges, account), dict(charges)
    if growth >= 0:
        sizes[payer] = sizes.get(payer, 0) + growth
    else:
        _give_back(sizes, (payer, *sizes), -growth)
    first = charges[0][0]
    return tuple((name, size) for name, size in sizes.items() if size or name == first)


def _payer(charges: Charges, account: str) -> str:
    """The account that pays for what an account adds to a task."""
    known = len(charges) < MAX_PAYERS or any(name == account for name, _ in charges)
    return account if known or not is_client(account) else LOCAL_CLIENTS


def _give_back(sizes: dict[str, int], payers: Iterable[str], size: int) -> None:
    for payer in payers:
        given = min(size, sizes.get(payer, 0))
        if given:
            sizes[payer] -= given
            size -= given


class BoardShares:
    """Counts what each account has of the board, all together, and all clients together."""

    def __init__(self, max_tasks: int, max_size: int, max_task: int) -> None:
        self._max_tasks = Shares.of(max_tasks)
        # A share holds at least one task of the largest size.
        self._max_size = Shares.of(max_size, max_task)
        self._base: BoardShares | None = None
        self.clear()

    def clear(self) -> None:
        """Nobody has anything."""
        self._tasks = self._size = 0
        self._client_tasks = self._client_size = 0
        # A fork has here only what it changed itself.
        self._accounts: dict[str, Holding] = {}

    def fork(self) -> BoardShares:
        """Shares that start as these and change apart from them; see `TaskBoard.fork`."""
        fork = copy(self)
        fork._base = self
        fork._accounts = {}
        return fork

    @property
    def all(self) -> Holding:
        """What all accounts have together."""
        return Holding(self._tasks, self._size)

    @property
    def clients(self) -> Holding:
        """What all clients have together."""
        return Holding(self._client_tasks, self._client_size)

    def of(self, account: str) -> Holding:
        """What one account has."""
        shares: BoardShares | None = self
        while shares is not None:
            found = shares._accounts.get(account)
            if found is not None:
                return found
            shares = shares._base
        return NOTHING

    # ------------------------------------------------------------- counting

    def replace(self, old: Charges, new: Charges) -> None:
        """The charges of a task are others; it has none before it begins, and when it has ended."""
        if old is new:
            return
        if len(old) == len(new) == 1 and old[0][0] == new[0][0]:
            self._add(old[0][0], 0, new[0][1] - old[0][1])
            return
        for sign, charges in ((-1, old), (1, new)):
            for place, (account, size) in enumerate(charges):
                self._add(account, 0 if place else sign, sign * size)

    def _add(self, account: str, tasks: int, size: int) -> None:
        self._tasks += tasks
        self._size += size
        if is_client(account):
            self._client_tasks += tasks
            self._client_size += size
        held = self.of(account)
        held = Holding(held.tasks + tasks, held.size + size)
        if held == NOTHING and self._base is None:
            self._accounts.pop(account, None)
        else:
            self._accounts[account] = held

    # ------------------------------------------------------------- deciding

    def check(self, account: str, old: Task | None, growth: int) -> None:
        """May an account add so many bytes to a task, or to the board with a new one?

        Raises RtpushError (`board_full`).
        """
        tasks = 1 if old is None else 0
        self._check_all(tasks, growth)
        if is_client(account):
            payer = account if old is None else _payer(old.charges, account)
            self._check_client(payer, tasks, growth)
            self._check_clients(tasks, growth)

    def _check_all(self, tasks: int, growth: int) -> None:
        max_tasks, max_size = self._max_tasks.total, self._max_size.total
        if tasks and self._tasks >= max_tasks:
            raise _full(f"At most {max_tasks} tasks can be active.")
        if self._size + growth > max_size:
            raise _full(f"The active tasks hold {max_size} bytes already.")

    def _check_client(self, account: str, tasks: int, growth: int) -> None:
        max_tasks, max_size = self._max_tasks.share(account), self._max_size.share(account)
        held = self.of(account)
        if tasks and held.tasks >= max_tasks:
            raise _full(
                f"You have {max_tasks} active tasks, as many as one client may: end some first."
            )
        if held.size + growth > max_size:
            raise _full(
                f"What you sent of active tasks may have {max_size} bytes together: end some, or "
                "send less in each."
            )

    def _check_clients(self, tasks: int, growth: int) -> None:
        max_tasks, max_size = self._max_tasks.clients, self._max_size.clients
        if tasks and self._client_tasks >= max_tasks:
            raise _full(f"All clients together have {max_tasks} active tasks: wait until some end.")
        if self._client_size + growth > max_size:
            raise _full(
                f"The active tasks of all clients hold {max_size} bytes: wait until some end."
            )


def _full(message: str) -> RtpushError:
    return RtpushError("board_full", message)
