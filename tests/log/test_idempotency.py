"""Idempotency keys: each account has a share of them, and none costs another its own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import KINDS, Desk, each

from rtpush.log.accounts import (
    APPLICATION,
    LOCAL_CLIENTS,
    Shares,
    account_of_client,
    account_of_publisher,
    is_client,
)
from rtpush.log.entry import Draft
from rtpush.log.idempotency import IDEMPOTENCY_FOR, IdempotencyKeys
from rtpush.protocol import Envelope

pytestmark = pytest.mark.usefixtures("_redis_for_logs")

ANN, BOB, CY = map(account_of_client, ("ann", "bob", "cy"))
PUBLISHER = account_of_publisher("p")
ACCOUNTS = [ANN, BOB, CY, PUBLISHER, APPLICATION, LOCAL_CLIENTS]


class Model:
    """The rules once more, over one list: (key, account, time), oldest first."""

    def __init__(self, limit: int) -> None:
        self.shares = Shares.of(limit)
        self.known: list[tuple[bytes, str, float]] = []

    def count(self, account: str) -> int:
        return sum(owner == account for _, owner, _ in self.known)

    def expire(self, now: float) -> None:
        self.known = [one for one in self.known if now - one[2] <= IDEMPOTENCY_FOR]

    def victims(self, account: str) -> set[str]:
        """The accounts of which one gives up its oldest key for a new one; empty for none."""
        clients = {owner for _, owner, _ in self.known if is_client(owner)}
        of_clients = sum(is_client(owner) for _, owner, _ in self.known)
        if is_client(account) and self.count(account) >= self.shares.share(account):
            return {account}
        if is_client(account) and of_clients >= self.shares.clients:
            return self.largest(clients)
        if len(self.known) >= self.shares.total:
            return self.largest({owner for _, owner, _ in self.known})
        return set()

    def largest(self, accounts: set[str]) -> set[str]:
        most = max(map(self.count, accounts))
        return {account for account in accounts if self.count(account) == most}


steps = st.lists(
    st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from([0.0, 0.0, 0.0, 50.0, 400.0, 9e6])),
    max_size=120,
)


@given(steps, st.sampled_from([1, 2, 10, 25, 40]))
def test_shares_hold_after_any_sequence(todo: list[tuple[str, float]], limit: int) -> None:
    gone: list[int] = []
    keys, model = IdempotencyKeys(limit, gone.append), Model(limit)
    now = 1e9
    for seq, (account, step) in enumerate(todo, 1):
        now += step
        keys.expire(now)
        model.expire(now)
        victims, key = model.victims(account), seq.to_bytes(16, "big")
        gone.clear()
        keys.add(key, seq, account, now)
        assert len(gone) == bool(victims)
        for lost in (seq.to_bytes(16, "big") for seq in gone):
            (victim,) = (owner for known, owner, _ in model.known if known == lost)
            assert victim in victims
            assert lost == next(known for known, owner, _ in model.known if owner == victim)
            model.known = [one for one in model.known if one[0] != lost]
        model.known.append((key, account, now))
        counts = Counter(owner for _, owner, _ in model.known)
        assert {name: keys.count(name) for name in ACCOUNTS if keys.count(name)} == counts
        assert len(keys) == len(model.known) <= limit
        assert all(keys.get(known) is not None for known, _, _ in model.known)


def test_what_clients_send_never_costs_publishers_their_tenth() -> None:
    keys = IdempotencyKeys(100)
    for seq in range(10):
        keys.add(b"p%d" % seq, seq, PUBLISHER, 0.0)
    for seq in range(10, 5000):
        keys.add(b"c%d" % seq, seq, account_of_client(str(seq % 37)), 0.0)
    assert all(keys.get(b"p%d" % seq) == seq for seq in range(10))
    assert len(keys) == 100


def test_publishers_have_all_that_clients_leave() -> None:
    keys = IdempotencyKeys(100)
    for seq in range(100):
        keys.add(b"p%d" % seq, seq, PUBLISHER, 0.0)
    assert keys.count(PUBLISHER) == 100
    keys.add(b"c", 100, ANN, 0.0)
    assert (keys.count(PUBLISHER), keys.count(ANN), keys.get(b"p0")) == (99, 1, None)


def test_a_long_key_takes_no_more() -> None:
    short, long = draft(ANN, "k"), draft(ANN, "\N{GRINNING FACE}" * 128)
    assert short.idempotency_key is not None
    assert long.idempotency_key is not None
    assert len(short.idempotency_key) == len(long.idempotency_key)


def test_many_keys_are_let_go_bit_by_bit() -> None:
    keys = IdempotencyKeys()
    for seq in range(12_000):
        keys.add(b"%d" % seq, seq, account_of_client(str(seq % 1000)), 0.0)
    sizes = []
    while len(keys):
        keys.expire(IDEMPOTENCY_FOR + 1)
        sizes.append(len(keys))
    assert len(sizes) > 1
    assert max(a - b for a, b in itertools.pairwise([12_000, *sizes])) <= 5_000


# ---- through each log --------------------------------------------------------


LIMIT = 20


async def say(desk: Desk, account: str, *keys: str) -> list[Any]:
    """Append an event for each key; the numbers that they got."""
    return [(await desk.append(draft(account, key)))[0] for key in keys]


def draft(account: str, key: str) -> Draft:
    return Draft.of(Envelope("x", idempotency_key=key), account=account)


@pytest.fixture(params=each(["memory", "sqlite", "redis"]))
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(KINDS[request.param], tmp_path, {"max_keys": LIMIT})
    await desk.open()
    yield desk
    await desk.log.close()


def names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


async def test_an_account_forgets_its_own_oldest_and_no_other(desk: Desk) -> None:
    await say(desk, BOB, "bob")
    await say(desk, PUBLISHER, "publisher")
    assert await say(desk, ANN, *names("a", 30)) == list(range(3, 33)), "none is refused"
    assert await say(desk, BOB, "bob") == [1]
    assert await say(desk, PUBLISHER, "publisher") == [2]
    assert await say(desk, ANN, "a29", "a28") == [32, 31]
    assert await say(desk, ANN, "a27") == [33], "its share is two: this one is forgotten"


async def test_many_clients_take_from_each_other_alone(desk: Desk) -> None:
    publishers = await say(desk, PUBLISHER, "p0", "p1")
    for number in range(15):
        await say(desk, account_of_client(str(number)), *names(f"c{number}-", 3))
    assert await say(desk, PUBLISHER, "p0", "p1") == publishers


async def test_the_account_with_the_most_gives(desk: Desk) -> None:
    await say(desk, APPLICATION, "first")
    await say(desk, PUBLISHER, *names("p", LIMIT - 1))
    assert await say(desk, ANN, "a") == [LIMIT + 1]
    assert await say(desk, APPLICATION, "first") == [1]
    assert await say(desk, PUBLISHER, "p1") == [3]
    assert await say(desk, PUBLISHER, "p0") == [LIMIT + 2]


async def test_what_has_expired_counts_no_more(desk: Desk) -> None:
    await say(desk, ANN, "a0", "a1")
    desk.clock.now += IDEMPOTENCY_FOR + 1
    assert await say(desk, ANN, "a0", "a1", "a0", "a1") == [3, 4, 3, 4]


async def test_one_key_from_two_accounts_is_one(desk: Desk) -> None:
    """A client without a subject comes back from another address."""
    assert await say(desk, ANN, "k") == await say(desk, BOB, "k") == [1]


@pytest.mark.parametrize("desk", each(["sqlite", "redis"]), indirect=True)
async def test_shares_are_the_same_after_a_restart(desk: Desk) -> None:
    await say(desk, BOB, "b0", "b1")
    await say(desk, ANN, "a0", "a1")
    await desk.reopen()
    assert await say(desk, ANN, "a2") == [5]
    assert await say(desk, BOB, "b0", "b1") == [1, 2]
    assert await say(desk, ANN, "a1", "a2") == [4, 5]
    await desk.reopen()
    assert await say(desk, ANN, "a1", "a2") == [4, 5]
    assert await say(desk, ANN, "a0") == [6]
