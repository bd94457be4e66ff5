"""Shares of the task board: no account takes another's, in every log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from logs import KINDS, Desk, LogMachine, each, memory, try_sequences

from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.log.accounts import (
    APPLICATION,
    LOCAL_CLIENTS,
    Shares,
    account_of_client,
    account_of_publisher,
    is_client,
)
from rtpush.log.base import Outcome, new_board
from rtpush.log.board import TaskBoard
from rtpush.log.board_shares import MAX_PAYERS, charged
from rtpush.log.entry import Draft
from rtpush.log.memory import MemoryLog
from rtpush.protocol import Envelope

pytestmark = pytest.mark.usefixtures("_redis_for_logs")

ANN, BOB, CY = map(account_of_client, ("ann", "bob", "cy"))
PUBLISHER = account_of_publisher("p")
ACCOUNTS = [APPLICATION, PUBLISHER, ANN, BOB, CY, LOCAL_CLIENTS]
KIB = 1 << 10
# A client may have 2 tasks and 6 KiB, all clients 18 tasks and 54 KiB.
LIMITS: dict[str, Any] = {"max_tasks": 20, "max_board": 60 * KIB, "max_task": 4 * KIB}


@pytest.fixture(params=each(["memory", "sqlite", "redis"]))
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(KINDS[request.param], tmp_path, **LIMITS)
    await desk.open()
    yield desk
    await desk.log.close()


def task(account: str, event: str, id_: Any, size: int = 0) -> Draft:
    data = {"id": id_, "text": "*" * size}
    return Draft.of(Envelope(f"task_{event}", data), account=account)


async def say(desk: Desk, account: str, event: str, *ids: Any, size: int = 0) -> list[Any]:
    """Send the same event of some tasks; what each came to: its number, or the refusal's code."""
    return codes(await desk.append(*(task(account, event, id_, size) for id_ in ids)))


def codes(outcomes: list[Outcome]) -> list[Any]:
    return [one.code if isinstance(one, RtpushError) else one for one in outcomes]


def assert_true(board: TaskBoard) -> None:
    """What all accounts have is the board, and none has less than nothing."""
    active = board.all_active()
    for one in active:
        assert sum(size for _, size in one.charges) == one.size
        assert all(size >= 0 for _, size in one.charges)
    held = {name: board.shares.of(name) for name in ACCOUNTS}
    assert board.shares.all == (len(active), sum(one.size for one in active))
    assert sum(one.number for one in held.values()) == len(active)
    assert sum(one.size for one in held.values()) == board.shares.all.size
    clients = [one for name, one in held.items() if is_client(name)]
    assert board.shares.clients == (
        sum(one.number for one in clients),
        sum(one.size for one in clients),
    )


# ---- what one account may ----------------------------------------------------


async def test_a_client_has_a_tenth_and_the_others_theirs(desk: Desk) -> None:
    assert await say(desk, ANN, "created", 1, 2, 3) == [1, 2, "board_full"]
    assert await say(desk, BOB, "created", 3) == [3]
    (refusal,) = await desk.append(task(ANN, "progress", 4))
    assert isinstance(refusal, RtpushError)
    assert "end some first" in refusal.message
    assert await say(desk, ANN, "completed", 1) == [4]
    assert await say(desk, ANN, "created", 5) == [5]


async def test_all_clients_leave_a_tenth_to_the_application(desk: Desk) -> None:
    for number in range(12):
        await say(desk, account_of_client(str(number)), "created", f"{number}a", f"{number}b")
    assert len(desk.log.board) == 18
    assert await say(desk, APPLICATION, "created", "x") == [19]
    assert await say(desk, PUBLISHER, "created", "y", "z") == [20, "board_full"]


async def test_the_application_has_all_that_clients_leave(desk: Desk) -> None:
    assert await say(desk, APPLICATION, "created", *range(20)) == list(range(1, 21))
    assert await say(desk, ANN, "created", "a") == ["board_full"]


async def test_this_machines_clients_have_what_all_clients_have(desk: Desk) -> None:
    """One developer's tests never meet the share of one client."""
    assert (await say(desk, LOCAL_CLIENTS, "created", *range(19)))[-2:] == [18, "board_full"]
    assert await say(desk, APPLICATION, "created", "x") == [19]


async def test_bytes_have_shares_too(desk: Desk) -> None:
    assert await say(desk, ANN, "created", 1, size=3 * KIB) == [1]
    assert await say(desk, ANN, "created", 2, size=3 * KIB) == ["board_full"]
    assert await say(desk, ANN, "created", 2, size=2 * KIB) == [2]
    assert await say(desk, ANN, "progress", 2, size=3 * KIB) == ["board_full"]
    assert await say(desk, ANN, "progress", 1, size=KIB) == [3]
    assert await say(desk, ANN, "progress", 2, size=3 * KIB) == [4]
    assert_true(desk.log.board)


def finished(desk: Desk) -> list[str]:
    return [one.key for one in desk.log.board.all_finished(desk.log.now())]


async def test_a_client_pushes_out_its_own_results_alone(desk: Desk) -> None:
    await say(desk, BOB, "completed", "bob")
    await say(desk, APPLICATION, "completed", "app")
    await say(desk, ANN, "created", "ann")
    # It counts for the client that began it, whichever account ends it.
    await say(desk, APPLICATION, "completed", "ann")
    for begin in (0, 600):
        await say(desk, ANN, "completed", *range(begin, begin + 600))
    kept = [*map(str, range(1199, 1099, -1)), "app", "bob"]
    assert finished(desk) == kept
    if not isinstance(desk.log, MemoryLog):
        await desk.reopen()
        assert finished(desk) == kept
    assert await say(desk, ANN, "failed", 1199, "ann") == ["task_finished", 1205]
    assert finished(desk) == ["ann", *kept[:99], "app", "bob"]


async def test_clients_leave_the_application_a_tenth_of_the_results(desk: Desk) -> None:
    await say(desk, PUBLISHER, "completed", *map("p{}".format, range(100)))
    await say(desk, LOCAL_CLIENTS, "completed", *range(1000))
    assert len(finished(desk)) == 1000
    assert [key for key in finished(desk) if key.startswith("p")] == [
        f"p{n}" for n in range(99, -1, -1)
    ]


async def test_a_share_holds_the_largest_task(desk: Desk) -> None:
    shares = Shares.of(10 * KIB, 4 * KIB)
    assert shares.share(ANN) == 4 * KIB
    assert await say(desk, ANN, "created", 1, size=4 * KIB - 50) == [1]


# ---- one account's events about another's task -------------------------------


async def test_who_makes_a_task_grow_pays_for_it(desk: Desk) -> None:
    await say(desk, ANN, "created", 1, 2)
    small = desk.log.board.shares.of(ANN)
    for id_ in (1, 2):
        data = {"id": id_, "junk": "*" * 2900}
        draft = Draft.of(Envelope("task_progress", data), account=BOB)
        assert codes(await desk.append(draft)) == [id_ + 2]
    assert desk.log.board.shares.of(ANN) == small
    assert desk.log.board.shares.of(BOB).number == 0
    assert await say(desk, BOB, "created", 3, size=KIB) == ["board_full"]
    assert await say(desk, ANN, "progress", 1, size=KIB) == [5]
    assert_true(desk.log.board)
    await say(desk, ANN, "completed", 1, 2)
    assert desk.log.board.shares.of(BOB) == (0, 0)


async def test_tasks_that_the_application_works_on_stay_their_clients(desk: Desk) -> None:
    """Else a client could fill the board through the application."""
    await say(desk, ANN, "created", 1, 2)
    await say(desk, APPLICATION, "progress", 1, 2, size=KIB)
    assert await say(desk, ANN, "created", 3) == ["board_full"]


def test_what_a_client_takes_away_never_makes_others_pay_more() -> None:
    begun = charged((), ANN, 100)
    grown = charged(begun, BOB, 50)
    assert grown == ((ANN, 100), (BOB, 50))
    assert charged(grown, BOB, -60) == ((ANN, 90),)
    assert charged(grown, CY, -120) == ((ANN, 0), (BOB, 30))
    assert charged(grown, ANN, -120) == ((ANN, 0), (BOB, 30))


def test_a_task_has_a_bounded_list_of_payers() -> None:
    charges = charged((), ANN, 1)
    for number in range(100):
        charges = charged(charges, account_of_client(str(number)), 1)
    charges = charged(charges, APPLICATION, 1)
    assert len(charges) == MAX_PAYERS + 2
    assert dict(charges)[LOCAL_CLIENTS] == 101 - MAX_PAYERS
    assert dict(charges)[APPLICATION] == 1
    assert sum(size for _, size in charges) == 102


# ---- the same on every node, and after a restart -----------------------------


@pytest.mark.parametrize("desk", each(["sqlite", "redis"]), indirect=True)
async def test_shares_are_the_same_after_a_restart(desk: Desk) -> None:
    await say(desk, ANN, "created", 1, 2, size=KIB)
    await say(desk, BOB, "progress", 1, size=2 * KIB)
    await say(desk, APPLICATION, "progress", 2, size=3 * KIB)
    before = {name: desk.log.board.shares.of(name) for name in ACCOUNTS}
    await desk.reopen()
    assert {name: desk.log.board.shares.of(name) for name in ACCOUNTS} == before
    assert_true(desk.log.board)
    assert await say(desk, ANN, "created", 3) == ["board_full"]


@pytest.mark.parametrize("desk", each(["redis"]), indirect=True)
async def test_every_node_counts_alike(desk: Desk) -> None:
    other = Desk(KINDS["redis"], desk._folder, **LIMITS)
    await other.open()
    await say(desk, ANN, "created", 1)
    assert await say(other, ANN, "created", 2, 3) == [2, "board_full"]
    await say(other, BOB, "progress", 1, size=KIB)
    await desk.log.sync()
    for name in ACCOUNTS:
        assert desk.log.board.shares.of(name) == other.log.board.shares.of(name)
    assert await say(desk, ANN, "created", 3) == ["board_full"]
    await other.log.close()


# ---- any sequence of everything ----------------------------------------------


class AnyTasks(LogMachine):
    """The shares are those of a board that folds what was taken."""

    options: ClassVar = LIMITS

    def prepare(self) -> None:
        self.twin = new_board(Settings(**LIMITS))

    @rule(
        events=st.lists(
            st.tuples(
                st.sampled_from(ACCOUNTS),
                st.sampled_from(["created", "progress", "progress", "completed", "failed"]),
                st.integers(0, 30),
                st.sampled_from([0, 10, KIB, 3 * KIB]),
            ),
            max_size=8,
        )
    )
    def emit(self, events: list[tuple[str, str, int, int]]) -> None:
        drafts = [task(*event) for event in events]
        for draft, outcome in zip(drafts, self.run(self.desk.append(*drafts)), strict=True):
            if not isinstance(outcome, RtpushError):
                now = self.desk.clock.now
                self.twin.apply(draft.event, draft.data, draft.room, now, draft.account)

    @rule(seconds=st.sampled_from([1, 300, 700]))
    def expire(self, seconds: float) -> None:
        """As the server does: tasks without an event for long fail, by an event of its own."""
        self.desk.clock.now += seconds
        expired = self.desk.log.board.expired(self.desk.clock.now, 600)
        self.emit([(APPLICATION, "failed", int(one.key), 0) for one in expired])

    @precondition(lambda self: type(self).make is not memory)
    @rule()
    def reopen(self) -> None:
        self.run(self.desk.reopen())

    @invariant()
    def shares_agree(self) -> None:
        if not hasattr(self, "desk"):
            return
        shares = self.desk.log.board.shares
        assert_true(self.desk.log.board)
        for name in ACCOUNTS:
            assert shares.of(name) == self.twin.shares.of(name)
            if is_client(name):
                assert shares.of(name).number <= (18 if name == LOCAL_CLIENTS else 2)
                assert shares.of(name).size <= (54 if name == LOCAL_CLIENTS else 6) * KIB
        assert shares.clients.number <= 18
        assert shares.clients.size <= 54 * KIB


@pytest.mark.parametrize("name", each(["memory", "sqlite", "redis"]))
def test_any_sequence_of_tasks(name: str, tmp_path: Path) -> None:
    try_sequences(AnyTasks, name, tmp_path)
