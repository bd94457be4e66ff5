"""`make mutate`: the changes that it makes, and that it names those which no test notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/mutate"

SOURCE = '''
LIMIT = 5

def add(items, one):
    """Docstring."""
    if len(items) < 5 and one is not None:
        items.append(
            one,
        )
    return items
'''


def run(code: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=TOOL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_change_is_one_statement_or_expression_of_a_function() -> None:
    found = run(
        "import sys, changes\n"
        "for one in changes.changes('m.py', sys.argv[1]):\n"
        "    assert one.source.count('\\n') == sys.argv[1].count('\\n')\n"
        "    print(one.line, one.after)",
        SOURCE,
    )
    assert found == [
        "6 if True:",
        "6 if False:",
        "6 if (one is not None):",
        "6 if (len(items) < 5):",
        "6 if (len(items) <= 5) and one is not None:",
        "6 if len(items) < 6 and one is not None:",
        "6 if len(items) < 5 and (one is None):",
        "7 pass",
        "10 return None",
    ]


@pytest.mark.timeout(240)
def test_a_target_whose_changes_are_all_noticed() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "patterns", "--jobs=1", "--sample=9"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 unnoticed" in done.stdout
