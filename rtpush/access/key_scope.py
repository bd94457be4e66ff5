"""Whose an idempotency key is: each subject and each publisher has names of its own.

One namespace for all would let a client say the key of a publisher's future event
(`paid-17`) first: the event would be taken for a repetition, and swallowed.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

__all__ = ["CLIENTS", "PUBLISHERS", "scope_of_api_key", "scope_of_subject"]

# Clients without a subject share one scope, so that one that comes back with a new `sid`
# may repeat what was not answered. The official clients' keys are random and cannot be guessed.
CLIENTS: Final = "clients"
# Publishers without a key or a subject: programs of the server's own machine.
PUBLISHERS: Final = "publishers"


def scope_of_subject(subject: str) -> str:
    """The scope of a token's subject, over every transport, on every node, and in the API."""
    return _digest("subject", subject)


def scope_of_api_key(key: str) -> str:
    """The scope of a publisher with this API key."""
    return _digest("api key", key)


@lru_cache(maxsize=10_000)
def _digest(kind: str, name: str) -> str:
    # 128 bits: nobody makes a name with the digest of another's.
    return hashlib.sha256(f"{kind}\0{name}".encode(errors="surrogatepass")).hexdigest()[:32]
