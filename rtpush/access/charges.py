"""Charges: which account pays for what a sender makes the server keep.

Rules that hold here:

- A subject has one account, wherever it sends from. A client without a subject has that of
  its address, so that a new connection is no new account.
- A right to publish makes a publisher, over every transport: it may do as much by the API.
"""

from __future__ import annotations

from functools import lru_cache

from ..log.accounts import APPLICATION, LOCAL_CLIENTS, account_of_client, account_of_publisher
from .addresses import is_loopback, rate_limit_address
from .auth import OPEN, Grant
from .key_scope import CLIENTS, PUBLISHERS

__all__ = ["charge_client", "charge_publisher"]


def charge_client(grant: Grant, address: str) -> str:
    """The account of a session with this grant."""
    scope = grant.key_scope
    if grant.publish and grant is not OPEN:
        return charge_publisher(PUBLISHERS if scope == CLIENTS else scope)
    return _account_of_address(address) if scope == CLIENTS else account_of_client(scope)


def charge_publisher(key_scope: str) -> str:
    """The account of a sender to the API, by the scope of its idempotency keys."""
    return APPLICATION if key_scope == PUBLISHERS else account_of_publisher(key_scope)


@lru_cache(maxsize=10_000)
def _account_of_address(address: str) -> str:
    if is_loopback(address):
        return LOCAL_CLIENTS
    return account_of_client(rate_limit_address(address))
