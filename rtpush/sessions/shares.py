"""Shares: how many sessions one address, and one token's subject, may have on this node."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..access.addresses import is_loopback, rate_limit_address
from ..config.settings import Settings
from ..errors import RtpushError
from .session import Session

__all__ = ["Shares"]


class Shares:
    """Counts the sessions of each address and of each subject."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses: Counter[str] = Counter()
        self._subjects: Counter[str | None] = Counter()

    def check(self, address: str, subject: str | None) -> None:
        """Raises RtpushError (`rate_limited`) when they have as many as they may."""
        settings = self._settings
        count = self._addresses[rate_limit_address(address)]
        if count >= settings.max_per_address and not is_loopback(address):
            raise RtpushError("rate_limited", "This address has as many connections as it may.")
        if subject is not None and self._subjects[subject] >= settings.max_per_subject:
            raise RtpushError("rate_limited", "This user has as many connections as allowed.")

    def add(self, session: Session) -> None:
        """Count a session that begins."""
        self._addresses[rate_limit_address(session.address)] += 1
        self._subjects[session.grant.subject] += 1

    def remove(self, session: Session) -> None:
        """Count a session that ends."""
        _decrement(self._addresses, rate_limit_address(session.address))
        _decrement(self._subjects, session.grant.subject)


def _decrement(counts: Counter[Any], key: object) -> None:
    """One fewer; what counts nothing is not kept."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
