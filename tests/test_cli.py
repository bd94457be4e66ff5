"""The command line: what it says, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpush import cli
from rtpush.cli import main
from rtpush.config import Settings


def test_bad_settings_are_told_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--prot", "1", "--log", "x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "rtpush: unknown option --prot; did you mean --port?",
        "rtpush: --log: 'x' is not memory: or sqlite:PATH",
    ]


def test_an_interrupt_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(settings: Settings) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 130
