"""Accounts: what each sender is charged for, out of budgets that all senders share.

Rules that hold here:

- One client has at most a tenth of a budget, and all clients together nine tenths. So no
  client takes the share of another, and none that of the application.
- Publishers and the application may have all that clients leave of it.
- Clients of this machine have no share of their own, only that of all clients: they may
  come through a proxy, or be the one developer of the application.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "APPLICATION",
    "LOCAL_CLIENTS",
    "Shares",
    "account_of_client",
    "account_of_publisher",
    "is_client",
]

# The application in the server, and publishers without a key on its machine.
APPLICATION: Final = ""
_CLIENT: Final = "client:"
# All clients of this machine that have no subject.
LOCAL_CLIENTS: Final = _CLIENT


def account_of_client(name: str) -> str:
    """The account of a client with this address or subject."""
    return _CLIENT + name


def account_of_publisher(name: str) -> str:
    """The account of a publisher with this API key or subject."""
    return f"publisher:{name}"


def is_client(account: str) -> bool:
    """Is it a client's, not the application's or a publisher's?"""
    return account.startswith(_CLIENT)


class Shares(NamedTuple):
    """How much of a budget all accounts may have, all clients together, and each client."""

    total: int
    clients: int
    client: int

    @classmethod
    def of(cls, total: int, least: int = 1) -> Shares:
        """The shares of a budget; a client's is at least `least`, as far as clients have it."""
        clients = max(1, total - -(-total // 10))
        return cls(total, clients, min(clients, max(total // 10, least)))

    def share(self, account: str) -> int:
        """What one account may have."""
        if not is_client(account):
            return self.total
        return self.clients if account == LOCAL_CLIENTS else self.client
