"""What clients may do in a room: the policy alone, without a session."""

from __future__ import annotations

from typing import Any

import pytest

from rtpush.access.auth import OPEN, Grant
from rtpush.access.room_policy import RoomPolicy
from rtpush.config import Settings
from rtpush.errors import RtpushError
from rtpush.handlers.registry import HandlerRegistry

LISTED = Grant("ada", rooms=("r",))
UNLISTED = Grant("bob", rooms=())
UNSAID = Grant("eve")


def policy_of(rule: dict[str, Any], *handlers: str, tokens: bool = True, **more: Any) -> RoomPolicy:
    registry = HandlerRegistry()
    for event in handlers:
        registry.add(event, lambda *_: None)
    secret = "s" * 32 if tokens else ""
    rules: Any = {"r": rule}
    return RoomPolicy(Settings(rooms=rules, auth_secret=secret, **more), registry)


@pytest.mark.parametrize("handlers", [(), ("join",)])
@pytest.mark.parametrize(
    ("enter", "admitted", "is_open"),
    [("anyone", {LISTED, UNLISTED, UNSAID, OPEN}, True), ("token", {LISTED}, False)],
)
def test_a_handler_has_no_say_where_a_rule_names_who_has(
    enter: str, admitted: set[Grant], is_open: bool, handlers: tuple[str, ...]
) -> None:
    policy = policy_of({"enter": enter}, *handlers)
    assert not policy.asks("r")
    assert policy.is_open("r") is is_open
    assert {g for g in (LISTED, UNLISTED, UNSAID, OPEN) if policy.admits(g, "r")} == admitted


def test_a_handler_decides_alone() -> None:
    policy = policy_of({"enter": "handler"}, "join")
    assert policy.asks("r")
    assert all(policy.admits(grant, "r") for grant in (LISTED, UNLISTED, UNSAID))
    assert not policy.is_open("r")


@pytest.mark.parametrize("enter", ["token", "handler"])
def test_nobody_enters_by_what_the_server_has_not_got(enter: str) -> None:
    policy = policy_of({"enter": enter}, tokens=False)
    with pytest.raises(RtpushError) as caught:
        policy.check_entry(OPEN, "r")
    assert caught.value.code == "forbidden"
    policy.check_entry(OPEN, "another")


@pytest.mark.parametrize(
    ("rule", "relay", "allowed"),
    [
        ({"events": ["msg*"]}, "other", {"msg1"}),
        ({"events": []}, "*", set()),
        ({"events": ["task_*"]}, "", {"task_created"}),
        ({}, "other", {"other", "task_created"}),
    ],
)
def test_the_events_of_a_rule_stand_in_for_relay(
    rule: dict[str, Any], relay: str, allowed: set[str]
) -> None:
    policy = policy_of(rule, relay=relay)
    for event in ("msg1", "other", "task_created"):
        if event in allowed:
            policy.check_event(event, "r")
            continue
        with pytest.raises(RtpushError) as caught:
            policy.check_event(event, "r")
        assert caught.value.code == "forbidden"


def test_what_a_rule_switches_off() -> None:
    off = policy_of({"rewind": False, "presence": False, "volatile": True, "conflate": False})
    on = policy_of({})
    for check in (lambda policy: policy.check_rewind(["r"]), lambda p: p.check_presence("r")):
        check(on)
        with pytest.raises(RtpushError, match="its rule has"):
            check(off)
    assert (off.keeps("r"), off.conflates("r")) == (False, False)
    assert (on.keeps("r"), on.conflates("r")) == (True, True)
    # Rules are about rooms: what is for everyone has none.
    assert off.keeps(None)
