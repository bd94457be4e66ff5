"""`rtpush completion`: what a shell offers after a Tab."""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from needs import needs, program

from rtpush.cli.common import COMMANDS
from rtpush.cli.main import main

TRY = """
source "$1"; shift
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _rtpush; echo "${COMPREPLY[*]}"
}
"""

LINES = [
    ("rtpush ''", " ".join(COMMANDS)),
    ("rtpush pub", "publish"),
    ("rtpush --po", "--port --poll-timeout"),
    ("rtpush --port 1 --relo", "--reload"),
    ("rtpush app:server --relo", "--reload"),
    ("rtpush serve --log-level w", "warning"),
    ("rtpush check --prod", "--production"),
    ("rtpush publish hello --vo", "--volatile"),
    ("rtpush publish hello --room --vo", ""),
    ("rtpush completion z", "zsh"),
    ("rtpush exec --ti", "--title"),
    ("rtpush exec -- compge", "compgen"),
]


@pytest.fixture
def script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Path:
    assert main(["completion", request.param]) == 0
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash(script: Path) -> None:
    tries = "\n".join(f"try {line}" for line, _ in LINES)
    bash = ["bash", "--norc", "-euc", TRY.replace("_rtpush;", "_rtpush || true;") + tries, "bash"]
    ran = subprocess.run([*bash, str(script)], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [offered for _, offered in LINES]


@needs("fish")
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish(script: Path) -> None:
    for typed, offered in [("pub", "publish"), ("publish hello --vo", "--volatile")]:
        line = f"source {script}; complete -C 'rtpush {typed}'"
        ran = subprocess.run([program("fish"), "-Nc", line], capture_output=True, text=True)
        assert (ran.stdout.split("\t")[0].strip(), ran.stderr) == (offered, "")


@pytest.mark.parametrize(
    ("script", "shell"),
    [
        ("bash", "bash"),
        pytest.param("zsh", "zsh", marks=needs("zsh")),
        pytest.param("fish", "fish", marks=needs("fish")),
    ],
    indirect=["script"],
)
def test_every_word_is_there(script: Path, shell: str) -> None:
    text = script.read_text()
    subprocess.run([shell, "-n", str(script)], check=True)
    for name in COMMANDS:
        assert name in text
        for action in import_module(f"rtpush.cli.{name}").make_parser()._actions:
            for flag in action.option_strings:
                assert flag.lstrip("-") in text


def test_a_shell_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["completion", "tcsh"])
    assert caught.value.code == 2
    assert "rtpush completion --help" in capsys.readouterr().err
