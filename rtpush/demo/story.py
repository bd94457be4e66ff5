"""Stories for the demo: a text for each prompt, made by chance from parts; pure.

Rules that hold here:

- The same prompt gives the same text, on every machine and in every process.
- A prompt in Chinese gets a story in Chinese.
- What the user typed stands in the text as it is: the page shows text, never markup.
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import Final, NamedTuple

__all__ = ["story"]

# Of the prompt, so many characters are quoted.
_MOST_QUOTED: Final = 60


class _Language(NamedTuple):
    """Sentences with gaps, one of each row is told; and what fills the gaps."""

    rows: tuple[tuple[str, ...], ...]
    fillers: dict[str, tuple[str, ...]]
    space: str


_ENGLISH: Final = _Language(
    rows=(
        (
            "The letter said only this: {prompt}.",
            'On the door stood "{prompt}", and nobody had painted it.',
            "It began with {prompt}, as the {who} would say later.",
        ),
        (
            "The {who} read it twice, folded it, and set out before the {thing} was awake.",
            "That evening the {who} put a {thing} into a bag and told no one.",
            "For three days the {who} waited; on the fourth the {thing} began to hum.",
        ),
        (
            "Beyond the last {place} the road grew {how}, and the maps were of no more use.",
            "The way led past a {place} where every window showed another season.",
            "At the {place} a boat was waiting, {how} and far too small.",
        ),
        (
            '"You are late," said the {other}, "but the {thing} is not."',
            "There the {other} asked for a story, and got half of one.",
            "The {other} knew the answer and hid it under a {thing}.",
        ),
        (
            "They walked on together, the {who} and the {other}, until the {place} was a dot.",
            "By night the {thing} shone {how}, and they could read by it.",
            "Nothing happened for a long while, and it happened {how}.",
        ),
        (
            "When the {who} came home, the clock in the {place} had moved by one minute.",
            "What they found is in no book; the {other} keeps it in a {thing}.",
            "And if you listen at a {place} on a {how} morning, you hear how it goes on.",
        ),
    ),
    fillers={
        "who": ("lamplighter", "cartographer", "night baker", "ferryman's daughter", "archivist"),
        "other": ("heron", "old signalman", "girl with two coats", "lighthouse", "fox"),
        "thing": ("compass", "kettle", "paper moon", "music box", "jar of rain"),
        "place": ("orchard", "railway bridge", "harbour", "glass library", "salt marsh"),
        "how": ("quiet", "narrow", "bright", "slowly", "blue"),
    },
    space=" ",
)

_CHINESE: Final = _Language(
    rows=(
        ("信上只有一句话：{prompt}。", "门上写着“{prompt}”，没有人知道是谁写的。"),
        (
            "{who}读了两遍，把信折好，趁{thing}还没醒就出发了。",
            "那天傍晚，{who}把{thing}装进包里，谁也没有告诉。",
        ),
        (
            "过了最后一座{place}，路变得{how}，地图再也没有用处。",
            "{place}边停着一条船，{how}，而且小得出奇。",
        ),
        (
            "“你来晚了，”{other}说，“不过{thing}没有晚。”",
            "{other}想听一个故事，只听到了一半。",
        ),
        (
            "{who}和{other}一起往前走，直到{place}变成一个小点。",
            "夜里，{thing}{how}地亮着，他们借着它读完了最后一页。",
        ),
        (
            "{who}回到家时，{place}里的钟只走了一分钟。",
            "他们找到了什么，书上没有写；{other}把它收在{thing}里。",
        ),
    ),
    fillers={
        "who": ("点灯人", "画地图的人", "夜里的面包师", "摆渡人的女儿"),
        "other": ("苍鹭", "老信号员", "穿两件外套的女孩", "灯塔"),
        "thing": ("罗盘", "水壶", "纸月亮", "八音盒"),
        "place": ("果园", "铁路桥", "港口", "玻璃图书馆"),
        "how": ("安静", "狭长", "明亮", "淡蓝"),
    },
    space="",
)


def story(prompt: str) -> str:
    """The story for a prompt."""
    chance = random.Random(hashlib.sha256(prompt.encode(errors="surrogatepass")).digest())
    language = _CHINESE if re.search(r"[\u4e00-\u9fff]", prompt) else _ENGLISH
    cast = {name: chance.choice(names) for name, names in language.fillers.items()}
    quoted = " ".join(prompt.split()).rstrip(".!?。！？")
    cast["prompt"] = quoted if len(quoted) <= _MOST_QUOTED else f"{quoted[:_MOST_QUOTED]}…"
    sentences = (chance.choice(row).format_map(cast) for row in language.rows)
    return language.space.join(sentences)
