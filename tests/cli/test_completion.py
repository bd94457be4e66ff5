"""`rtpush completion`: what a shell offers after a Tab."""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from needs import needs, program
from terminals import Terminal

from rtpush.cli.common import COMMANDS
from rtpush.cli.main import main

TRY = """
source "$1"; shift
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _shtab_rtpush; echo "${COMPREPLY[*]}"
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
    ("rtpush --tls-cert REA", "README.md"),
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
    # Outside of a Tab there is no compopt.
    bash = ["bash", "--norc", "-euc", f"compopt() {{ :; }}\n{TRY}{tries}", "bash", str(script)]
    (script.parent / "README.md").touch()
    ran = subprocess.run(bash, capture_output=True, text=True, check=True, cwd=script.parent)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [offered for _, offered in LINES]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_another_program_as_it_would(script: Path) -> None:
    # What the package bash-completion calls it.
    other = '_command_offset() { COMPREPLY=("${COMP_WORDS[$1]}: a b"); }'
    line = f"compopt() {{ :; }}\n{other}\n{TRY}try rtpush exec --id 1 -- git chec"
    ran = subprocess.run(["bash", "--norc", "-euc", line, "bash", script], capture_output=True)
    assert (ran.stdout, ran.stderr) == (b"git: a b\n", b"")


@needs("zsh")
@pytest.mark.parametrize("script", ["zsh"], indirect=True)
async def test_zsh(script: Path) -> None:
    tries = [
        ("pub", "publish"),
        ("app:server --relo", "--reload"),
        ("--port 1 --relo", "--reload"),
        ("serve --log-level w", "warning"),
        ("publish hello --vo", "--volatile"),
        ("completion z", "zsh"),
        ("exec --id 1 -- rtpush pub", "publish"),
    ]
    async with Terminal(200).running(program("zsh"), "-f", "-i") as terminal:
        terminal.type("PS1='ready> '; autoload -U compinit && compinit -u -D; ")
        terminal.type(f"eval \"$(cat {script})\"; echo loa''ded\n")
        await terminal.shows("loaded.*ready> ")
        for number, (typed, completed) in enumerate(tries):
            # In place of the line before.
            terminal.type(f"\x15: {number}; rtpush {typed}\t")
            await terminal.shows(f": {number}; rtpush .*{completed}")


@needs("fish")
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish(script: Path) -> None:
    tries = [
        ("pub", "publish"),
        ("publish hello --vo", "--volatile"),
        ("app:server --relo", "--reload"),
        ("serve --log-level w", "warning"),
        ("exec --id 1 -- rtpush pub", "publish"),
    ]
    for typed, offered in tries:
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
