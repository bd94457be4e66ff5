"""Shares of the task board: how much of it each account has, and may have.

Rules that hold here:

- A task counts in the share of the account that began it, until it ends. Its bytes count in
  the share of the account whose events brought them: no account pays for more than it sent,
  so nobody can fill the share of another by making its tasks grow.
- What makes a task smaller gives back what its own account pays for it, then what others pay.
- What all accounts pay for a task is its size, and what they pay for all is the board's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .accounts import LOCAL_CLIENTS, Shares, is_client
from .holdings import Holdings
from .task import Charges, Task

__all__ = ["BoardShares", "charged"]

# As many accounts can have nine tenths of the board: what yet another client adds to the same
# task counts for all clients together, so that no task has a list without end.
MAX_PAYERS: Final = 16


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


REFUSALS: Final = {
    "all_count": "At most {} tasks can be active.",
    "all_size": "The active tasks hold {} bytes already.",
    "client_count": ("You have {} active tasks, as many as one client may: end some first."),
    "client_size": (
        "What you sent of active tasks may have {} bytes together: end some, or send less in each."
    ),
    "clients_count": "All clients together have {} active tasks: wait until some end.",
    "clients_size": "The active tasks of all clients hold {} bytes: wait until some end.",
}


class BoardShares(Holdings):
    """Counts what each account has of the board."""

    def __init__(self, max_tasks: int, max_size: int, max_task: int) -> None:
        # A share holds at least one task of the largest size.
        limits = Shares.of(max_tasks), Shares.of(max_size, max_task)
        super().__init__("board_full", REFUSALS, *limits)

    def replace(self, old: Charges, new: Charges) -> None:
        """The charges of a task are others; it has none before it begins, and when it has ended."""
        if old is new:
            return
        if len(old) == len(new) == 1 and old[0][0] == new[0][0]:
            self.add(old[0][0], 0, new[0][1] - old[0][1])
            return
        for sign, charges in ((-1, old), (1, new)):
            for place, (account, size) in enumerate(charges):
                self.add(account, 0 if place else sign, sign * size)

    def check(self, account: str, old: Task | None, growth: int) -> None:
        """May an account add so many bytes to a task, or to the board with a new one?

        Raises RtpushError (`board_full`).
        """
        if old is None:
            self.check_more(account, 1, growth)
        else:
            self.check_more(account, 0, growth, _payer(old.charges, account))
