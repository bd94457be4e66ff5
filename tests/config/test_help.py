"""What is made of the settings for readers: --help, --version, the table of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpush.config.help import markdown_table
from rtpush.config.settings import SETTINGS
from rtpush.config.sources import load
from rtpush.version import __version__


def test_help_tells_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        load(["--help"], {}, tmp_path)
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: rtpush serve [options]\n")
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for setting in SETTINGS:
        assert setting.flag in words
        assert f"[{setting.shown_default}; {setting.env}]" in words


def test_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--version"], {}, tmp_path)
    assert capsys.readouterr().out == f"rtpush {__version__}\n"


def test_the_table_has_a_row_for_each_setting() -> None:
    table = markdown_table()
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == len(SETTINGS)
    assert all(row.count("|") == 5 for row in rows)
    assert "| `--port`<br>`RTPUSH_PORT`<br>`port` | `5000` |" in table
    assert "### Limits" in table
