"""Holdings: what each account has of something that all share, and may have; pure.

Rules that hold here:

- What is held has a number and a size, and a limit for each: for all accounts together, for all
  clients together, and for each client (accounts.py).
- Limits are asked only in `check_more`; counting never refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Self

from ..errors import RtpushError
from .accounts import Shares, is_client

__all__ = ["Holding", "Holdings"]


class Holding(NamedTuple):
    """How many, and how many bytes."""

    number: int
    size: int


NOTHING: Final = Holding(0, 0)


class Holdings:
    """Counts what each account has, all together, and all clients together.

    `refusals` has the sentence for each limit: `all`, `clients` and `client`, each with
    `_count` and `_size`; `{}` in it is the limit.
    """

    def __init__(
        self, code: str, refusals: Mapping[str, str], max_count: Shares, max_size: Shares
    ) -> None:
        self._code = code
        self._refusals = refusals
        self._max_count = max_count
        self._max_size = max_size
        self._base: Holdings | None = None
        self.clear()

    def clear(self) -> None:
        """Nobody has anything."""
        self.all = self.clients = NOTHING
        # A fork has here only what it changed itself.
        self._accounts: dict[str, Holding] = {}

    def fork(self) -> Self:
        """Holdings that start as these and change apart from them; see `TaskBoard.fork`."""
        # `copy.copy` takes five times as long, and each batch forks.
        fork = object.__new__(type(self))
        vars(fork).update(vars(self))
        fork._base = self
        fork._accounts = {}
        return fork

    def of(self, account: str) -> Holding:
        """What one account has."""
        holdings: Holdings | None = self
        while holdings is not None:
            found = holdings._accounts.get(account)
            if found is not None:
                return found
            holdings = holdings._base
        return NOTHING

    def add(self, account: str, count: int, size: int) -> None:
        """An account has more, or less."""
        self.all = _plus(self.all, count, size)
        if is_client(account):
            self.clients = _plus(self.clients, count, size)
        held = _plus(self.of(account), count, size)
        if held == NOTHING and self._base is None:
            self._accounts.pop(account, None)
        else:
            self._accounts[account] = held

    def check_more(self, account: str, count: int, size: int, payer: str | None = None) -> None:
        """May an account have so much more, for which another one may pay? Raises RtpushError."""
        max_count, max_size = self._max_count, self._max_size
        self._check("all", self.all, max_count.total, max_size.total, count, size)
        if is_client(account):
            payer = payer or account
            limits = max_count.share(payer), max_size.share(payer)
            self._check("client", self.of(payer), *limits, count, size)
            self._check("clients", self.clients, max_count.clients, max_size.clients, count, size)

    def _check(
        self, whose: str, held: Holding, max_count: int, max_size: int, count: int, size: int
    ) -> None:
        if count > 0 and held.number + count > max_count:
            raise RtpushError(self._code, self._refusals[f"{whose}_count"].format(max_count))
        if size > 0 and held.size + size > max_size:
            raise RtpushError(self._code, self._refusals[f"{whose}_size"].format(max_size))


def _plus(held: Holding, count: int, size: int) -> Holding:
    return Holding(held.number + count, held.size + size)
