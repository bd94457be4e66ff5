"""The demo's pictures: true progress, sound markup, nothing of the user's in it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import ROOT

from rtpush.demo.art import MODES, Stage, draw
from rtpush.demo.stages import MESSAGES, REFUSALS

modes = pytest.mark.parametrize("mode", list(MODES))
HOSTILE = [
    "<script>alert(1)</script>",
    '"/><image href="http://example.com/x.png"/>',
    "]]>&xxe;<!DOCTYPE svg>",
    "${7*7} {{7*7}} '; DROP TABLE tasks; --",
    "\x00\x1b[31m\u202e",
    "\ud800",
]


def final(prompt: str, mode: str) -> str:
    svg = list(draw(prompt, mode))[-1].svg
    assert svg is not None
    return svg


@modes
def test_the_same_bytes_in_every_process(mode: str) -> None:
    code = (
        "import hashlib; from rtpush.demo.art import draw;"
        f"print(hashlib.sha256(list(draw('星夜', {mode!r}))[-1].svg.encode()).hexdigest())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    expected = hashlib.sha256(final("星夜", mode).encode()).hexdigest()
    assert result.stdout.decode().strip() == expected


@modes
def test_prompts_give_different_pictures(mode: str) -> None:
    prompts = ["fox", "Fox", "fox ", "狐狸", "a" * 500, *HOSTILE]
    assert len({final(prompt, mode) for prompt in prompts}) == len(prompts)


def test_modes_give_different_pictures() -> None:
    assert set(MODES) == {"landscape", "orbits", "weave", "bloom"}
    assert len({final("fox", mode) for mode in MODES}) == len(MODES)


@modes
def test_progress_rises_to_a_hundred_while_the_picture_grows(mode: str) -> None:
    stages = list(draw("金色的秋天", mode))
    assert 8 <= len(stages) <= 13
    shares = [stage.progress for stage in stages]
    assert shares[0] > 0
    assert all(a < b for a, b in pairwise(shares))
    assert shares[-1] == 100
    bodies = [(stage.svg or "").removesuffix("</svg>") for stage in stages]
    assert all(b.startswith(a) and len(b) > len(a) for a, b in pairwise(bodies))
    assert all(stage.message for stage in stages)


def assert_sound(stage: Stage) -> None:
    if stage.svg is None:
        return
    root = ElementTree.fromstring(stage.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(stage.svg.encode()) <= 24 * 1024
    assert stage.svg.isascii()
    for word in ("<script", "href", "<text", "<image", "<style", "foreignObject", " on", "nan"):
        assert word not in stage.svg
    assert stage.svg.count("://") == 1
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(f"url(#{name})" in stage.svg for name in ids)


@modes
# Each example is a dozen pictures.
@settings(max_examples=settings().max_examples // 4)
@given(prompt=st.text(min_size=1, max_size=500).filter(str.strip))
def test_every_stage_is_sound(mode: str, prompt: str) -> None:
    for stage in draw(prompt, mode):
        assert_sound(stage)


@modes
@pytest.mark.parametrize("prompt", HOSTILE)
def test_nothing_of_the_prompt_gets_in(mode: str, prompt: str) -> None:
    for stage in draw(prompt, mode):
        assert_sound(stage)
        assert prompt not in (stage.svg or "") + stage.message


def test_the_page_knows_every_name_in_its_languages() -> None:
    page = (ROOT / "client/i18n.js").read_text()
    names = [f"stage_{name}" for name in MESSAGES] + [f"error_{code}" for code in REFUSALS]
    assert {name: page.count(f" {name}: ") for name in names} == dict.fromkeys(names, 2)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "\u3000"])
def test_an_empty_prompt(prompt: str) -> None:
    with pytest.raises(ValueError, match="what to draw"):
        draw(prompt, "bloom")


def test_a_long_prompt() -> None:
    with pytest.raises(ValueError, match="501"):
        draw("a" * 501, "bloom")


@pytest.mark.parametrize("mode", ["", "Bloom", "portrait", "__class__"])
def test_an_unknown_mode(mode: str) -> None:
    with pytest.raises(ValueError, match="landscape, orbits, weave, bloom"):
        draw("fox", mode)
