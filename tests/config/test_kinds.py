"""Kinds: how durations and sizes are written."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.config.kinds import parse_duration, parse_size, show_duration, show_size
from rtpush.config.settings import SETTINGS, Setting


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("10m", 600), ("24h", 86400), ("7d", 604800), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("10B", 10), ("256MB", 256_000_000), ("64KiB", 65536), ("1.5 mib", 3 * 2**19)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", " ", "s", "-1", "1x", "1m30s", "1e3", "inf", "nan", "٣"])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)
    with pytest.raises(ValueError):
        parse_size(text)


@given(st.integers(0, 10**12))
def test_durations_are_shown_as_they_are_read(seconds: int) -> None:
    assert parse_duration(show_duration(float(seconds))) == seconds


@given(st.integers(0, 2**50))
def test_sizes_are_shown_as_they_are_read(size: int) -> None:
    assert parse_size(show_size(size)) == size


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_defaults_are_allowed_values(setting: Setting) -> None:
    if setting.default is not None:
        assert setting.kind.parse(setting.kind.show(setting.default)) == setting.default
