"""Parse the progress from the output of real programs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.cli.progress_parser import OutputParser, Progress, parse_percent


def after(*printed: bytes | str) -> tuple[float | None, str]:
    """What is known when this has been printed, in these pieces."""
    parser = OutputParser(Progress())
    for piece in printed:
        parser.feed(piece.encode() if isinstance(piece, str) else piece)
    progress = parser.progress
    return (None if progress.percent is None else round(progress.percent, 2), progress.message)


LINES = [
    # tqdm
    (" 45%|████▌     | 9/20 [00:01<00:01,  8.00it/s]", 45),
    ("Training: 100%|██████████| 20/20 [00:02<00:00, acc=12%]", 100),
    ("loss 3%: 45%|████▌     | 9/20", 45),
    ("9it [00:01,  8.00it/s]", None),
    # pip
    ("   ━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━ 1.2/5.0 MB 3.4 MB/s eta 0:00:02", 24),
    ("     |████████████                    | 1.9 MB 5.3 MB/s eta 0:00:01", None),
    ("Progress 1024 of 4096", 25),
    ("Downloading numpy-2.1.0-cp311-manylinux.whl (16.3 MB)", None),
    # uv
    ("torch ------------------------------ 128.00 MiB/0.5 GiB", 25),
    ("numpy 512 KiB/1 MiB", 50),
    # rsync --progress, --info=progress2
    ("    782,448  63%  110.64kB/s    0:00:04", 63),
    ("  1,238,099 100%  146.38kB/s    0:00:08 (xfr#5, to-chk=169/396)", 100),
    # make and cmake, ninja, docker build
    ("[ 12%] Building CXX object src/CMakeFiles/app.dir/main.cpp.o", 12),
    ("[100%] Built target app", 100),
    ("[3/20] Building CXX object src/main.cpp.o", 15),
    ("#12 [builder 3/4] RUN make", 75),
    ("#12 [ 1/10] FROM docker.io/library/debian", 10),
    # pytest
    ("tests/test_output.py ..........                         [ 40%]", 40),
    # curl, and curl -#
    ("  9 10.0M    9  968k    0     0   948k      0  0:00:10  0:00:01  0:00:09  947k", 9),
    ("100   1256  100   1256    0      0  33410      0 --:--:-- --:--:-- --:--:--  33052", 100),
    ("########                                                  12.5%", 12.5),
    # wget, git, yt-dlp, others
    ("file.iso             45%[========>           ] 450.12M  12.3MB/s    eta 45s", 45),
    ("Receiving objects:  45% (123/271), 1.20 MiB | 2.30 MiB/s", 45),
    ("[download]  45.3% of   10.00MiB at    1.20MiB/s ETA 00:04", 45.3),
    ("Encoding: task 1 of 1, 12.34 %", 12.34),
    ("Fortschritt: 12,5%", 12.5),
    ("0%", 0),
    # None of these is a progress.
    ("GET /a%20b?x=5%20c", None),
    ("a change of -5% or +3%", None),
    ("300% more", None),
    ("v1.2%", None),
    ("[05/12/2025] started", None),
    ("[3/0] nothing to do", None),
    ("[9/8] impossible", None),
    ("ratio 24/7", None),
    ("12/0 MB", None),
    ("12:30:45 INFO 1:2:3 4:5:6", None),
    ("time=00:00:05.00 without a duration", None),
    ("", None),
]


@pytest.mark.parametrize(("line", "progress"), LINES)
def test_a_line(line: str, progress: float | None) -> None:
    found = parse_percent(line)
    assert found == (None if progress is None else pytest.approx(progress))


def test_the_last_line_is_the_message() -> None:
    assert after("one\ntwo\n\n") == (None, "two")
    assert after("one\ntwo") == (None, "two")
    assert after("one\r\ntwo\r\n  \t \r\n") == (None, "two")
    assert after("  a\tb   c  \n") == (None, "a b c")


def test_a_bar_is_read_while_it_is_drawn() -> None:
    bar = "\r  5%|▌         | 1/20\r 10%|█         | 2/20"
    assert after(bar) == (10, "10%|█ | 2/20")
    assert after(bar, "\r 15%|█▌        | 3/20\n", "saved\n") == (15, "saved")


def test_backspaces_take_back() -> None:
    assert after("done:  5%", "\b\b\b\b 45%") == (45, "done: 45%")


@pytest.mark.parametrize(
    "text",
    [
        "\033[1;32m 45%\033[0m done\n",
        "\033]0;a title with 99%\007 45% done\n",
        "\033]0;a title with 99%\033\\ 45% done\n",
        "\033[2K\033[?25l\r 45% done\033[0K",
        "99%\033[1G 45% done",
        "99%\033[5;1H 45% done",
        "\033(B 45% done",
    ],
)
def test_escape_sequences_are_skipped(text: str) -> None:
    """Whole, and cut at every byte."""
    assert after(text) == (45, "45% done")
    data = text.encode()
    assert after(*(bytes([byte]) for byte in data)) == (45, "45% done")


def test_the_outer_bar_of_tqdm_counts() -> None:
    outer, inner = "\repoch:  10%|█         | 1/10", "\n\rstep:  80%|████████  | 4/5\033[A"
    assert after(outer, inner, inner) == (10, "epoch: 10%|█ | 1/10")


def test_ffmpeg() -> None:
    told = "  Duration: 00:10:00.00, start: 0.000000\n  Duration: 00:00:10.00, start: 0\n"
    frame = "frame=  100 fps= 25 size=    1024kB time={} bitrate=2097.2kbits/s speed=1.5x\r"
    assert after(told)[0] is None
    assert after(told, frame.format("00:01:30.00"))[0] == 15
    assert after(told, frame.format("00:10:30.00"))[0] == 100
    assert after(told, frame.format("N/A"))[0] is None
    assert after(frame.format("00:01:30.00"))[0] is None
    assert after(told, "out_time=00:05:00.000000\nprogress=continue\n") == (50, "progress=continue")
    # Nobody has that much time.
    for long in ("9" * 400, "9" * 5_000):
        assert after(f"Duration: {long}:00:00\n", frame.format("00:01:30.00"))[0] is None
        assert after(told, frame.format(f"{long}:00:00"))[0] is None
    # In the middle of much else.
    assert after("x\n" * 9_000 + told + "x\n" * 9_000, frame.format("00:01:30.00"))[0] == 15


def test_characters_cut_between_reads() -> None:
    data = "45% 山间的湖 ночь".encode()
    assert after(*(bytes([byte]) for byte in data)) == (45, "45% 山间的湖 ночь")
    assert after(b"45% \xff\xfe broken\n") == (45, "45% �� broken")


ENDLESS = [
    *(b"x" * 100_000, b"\0" * 100_000, b"\033]0;" + b"t" * 100_000, b"\b" * 9_000),
    *(b"\033[" + b"0" * 9_000, b"\033" + b" " * 9_000),
]


@pytest.mark.parametrize("at_once", [100_000, 1_000])
@pytest.mark.parametrize("endless", ENDLESS, ids=lambda data: repr(data[:6]))
def test_memory_is_bounded(endless: bytes, at_once: int) -> None:
    parser = OutputParser(Progress())
    for begin in [*range(0, len(endless), at_once)] * 3:
        parser.feed(endless[begin : begin + at_once])
        assert len(parser.progress.message) <= 200
        assert len(parser._line) + len(parser._rest) <= 6_000
    # Later output is still parsed.
    parser.feed(b"\007\n 45% done\n")
    assert (parser.progress.percent, parser.progress.message) == (45, "45% done")


def test_a_cut_number_is_not_read() -> None:
    assert after("1" * 5_000 + "45%\n" + "x" * 4_090)[0] is None
    assert after("5%\n" * 5_000 + "100%\n") == (100, "100%")


def test_a_long_line_is_cut_in_the_message() -> None:
    assert after("word " * 1000)[1] == ("word " * 1000)[:199] + "…"


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_accepted(pieces: list[bytes]) -> None:
    progress, message = after(*pieces)
    assert progress is None or 0 <= progress <= 100
    assert message.isprintable()


@given(st.text("0123456789%/[]: \r\n", max_size=60), st.data())
def test_reads_may_be_cut_anywhere(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    assert after(text)[1] == after(text[:cut], text[cut:])[1]
