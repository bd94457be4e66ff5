"""Settings in a program: every value is checked, and all that is wrong is told at once."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from rtpush.config import ConfigError, Settings
from rtpush.config.hook_settings import HOOKS
from rtpush.config.kinds import Kind
from rtpush.config.options import Options
from rtpush.config.room_rules import ROOMS
from rtpush.config.settings import SETTINGS


def problems(**given: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Settings(**given)
    return caught.value.problems


def test_typed_values_are_taken_as_they_are() -> None:
    settings = Settings(port=0, heartbeat=2, grace=0.5, relay=("a", "b"), client=None, demo=True)
    assert (settings.port, settings.grace, settings.relay) == (0, 0.5, ("a", "b"))
    assert isinstance(settings.heartbeat, float)
    assert (settings.client, settings.demo) == (None, True)


def test_text_is_parsed_as_in_every_other_source(tmp_path: Path) -> None:
    settings = Settings(retention_age="30d", max_body="64KiB", client=str(tmp_path))
    assert settings.retention_age == 30 * 86400.0
    assert settings.max_body == 65536
    assert settings.client == tmp_path


@pytest.mark.parametrize(
    ("given", "relay"),
    [
        ("chat_*", ("chat_*",)),
        ("chat_*, ping", ("chat_*", "ping")),
        (["chat_*", "ping"], ("chat_*", "ping")),
        ({"chat_*"}, ("chat_*",)),
        ("", ()),
        ((), ()),
    ],
)
def test_a_list_of_names(given: Any, relay: tuple[str, ...]) -> None:
    assert Settings(relay=given).relay == relay


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("heartbeat", 0, "0 is not a duration from 1s to 60m"),
        ("heartbeat", math.nan, "nan is not a duration"),
        ("heartbeat", None, "None is not a duration"),
        ("session_lease", -5, "-5 is not a duration from 1s to 24h"),
        ("retention_age", math.inf, "inf is not a duration from 1s to 3650d"),
        ("retention_age", "30 days", "'30 days' is not a duration"),
        ("port", 65536, "65536 is not a whole number from 0 to 65535"),
        ("port", 80.0, "80.0 is not a whole number"),
        ("workers", True, "True is not a whole number from 1 to 256"),
        ("max_body", 1, "1 is not a size from 1KiB to 1GiB"),
        ("max_body", 2048.5, "2048.5 is not a size"),
        ("demo", 1, "1 is not true or false"),
        ("host", b"::1", "b'::1' is not a host name"),
        ("log", Path("x.db"), "x.db is not memory:, sqlite:PATH"),
        ("relay", None, "None is not event names"),
        ("relay", ["a", 1], "['a', 1] is not event names"),
        ("relay", b"chat", "b'chat' is not event names"),
        ("client", "/nowhere", "'/nowhere' is not a directory; there is no /nowhere"),
        ("client", Path("/nowhere"), "/nowhere is not a directory; there is no /nowhere"),
        ("tls_cert", 5, "5 is not a file"),
        ("log_level", "wraning", "'wraning' is not debug, info, warning or error; did you mean"),
        ("auth_secret", 5, "the value (int, not shown) is not printable text"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: Any, sentence: str) -> None:
    [problem] = problems(**{name: value})
    assert problem.startswith(f"{name}: {sentence}")
    with pytest.raises(ConfigError):
        replace(Settings(), **{name: value})


def test_all_problems_come_at_once() -> None:
    assert [problem.partition(";")[0] for problem in problems(prot=1, port=-1, xyzzy=2)] == [
        "unknown setting prot",
        "unknown setting xyzzy",
        "port: -1 is not a whole number from 0 to 65535",
    ]
    assert "did you mean port?" in problems(prot=1)[0]


def test_bad_settings_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="grace: -1 is not a duration"):
        Settings(grace=-1)


def test_settings_are_a_value() -> None:
    settings = Settings(port=80, relay="chat")
    assert replace(settings, port="81") == Settings(port=81, relay=("chat",))
    assert len({settings, Settings(relay=["chat"], port=80)}) == 1
    for twin in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert twin == settings


def test_settings_are_shown_by_what_is_not_default_and_not_secret() -> None:
    log = "redis://user:hush@host/0"
    assert repr(Settings(port=80, auth_secret="hush", log=log)) == (
        "Settings(port=80, auth_secret=the value (str, not shown), log='redis://***@host/0')"
    )


def type_of(kind: Kind[Any]) -> str:
    """How a program may give a setting of this kind."""
    if kind.many:
        return "str | collections.abc.Sequence[str]"
    if kind is ROOMS:
        return (
            "str | collections.abc.Mapping[str, rtpush.config.room_rules.RoomOptions] | "
            "tuple[rtpush.config.room_rules.RoomRule, ...]"
        )
    if kind is HOOKS:
        module = "rtpush.config.hook_settings"
        return f"str | {module}.HookOptions | {module}.HookSettings | None"
    path = "pathlib.Path | str | None"
    types = {"": "bool", "N": "int", "SIZE": "int | str", "TIME": "float | str"}
    return types.get(kind.metavar, path if kind.metavar in ("DIR", "FILE") else "str")


def test_the_types_of_the_options_are_those_of_the_settings() -> None:
    types = get_type_hints(Options)
    assert list(types) == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        shown = types[setting.name]
        name = shown.__name__ if isinstance(shown, type) else str(shown)
        assert name == type_of(setting.kind), setting.name
