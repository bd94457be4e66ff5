"""What showing a loop's progress costs the loop.

`python bench/track.py [--quick]`. A million steps that each parse a line of JSON: bare, with
`rtpush.track` and its server there, with the server away, and with tqdm, when it is installed,
as it is and on the page. They take turns; each figure is the best of its turns, in CPU time, so
that what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from servers import Server, kinds

from rtpush import track

try:
    from tqdm import tqdm

    from rtpush.contrib.tqdm import tqdm as tqdm_on_screens
except ImportError:
    tqdm = tqdm_on_screens = None

LINE = json.dumps({"id": 17, "name": "a lake", "tags": ["hills", "evening"], "size": [640, 480]})
NOBODY = "http://127.0.0.1:9"

Wrap = Callable[[Iterable[int]], Iterable[int]]


def seconds(wrap: Wrap, steps: int) -> float:
    """CPU time of the loop, its threads included; every step does a small piece of real work."""
    parse, line = json.loads, LINE
    begun = time.process_time()
    for _ in wrap(range(steps)):
        parse(line)
    return time.process_time() - begun


def wraps(url: str) -> dict[str, Wrap]:
    """What to put around the loop, by name."""
    found: dict[str, Wrap] = {
        "a bare loop": lambda steps: steps,
        "rtpush.track": partial(track, url=url),
        "rtpush.track, server away": partial(track, url=NOBODY),
    }
    if tqdm is not None:
        found["tqdm"] = partial(tqdm, file=io.StringIO())
        found["rtpush.contrib.tqdm"] = partial(tqdm_on_screens, url=url, file=io.StringIO())
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    steps, turns = (100_000, 3) if parser.parse_args().quick else (1_000_000, 5)
    with tempfile.TemporaryDirectory() as build:
        rtpush = next(kind for kind in kinds(Path(build)) if kind.name == "rtpush")
        with Server(rtpush) as server:
            around = wraps(f"http://127.0.0.1:{server.port}")
            taken: dict[str, list[float]] = {name: [] for name in around}
            for _ in range(turns):
                for name, wrap in around.items():
                    taken[name].append(seconds(wrap, steps))
    bare = min(taken["a bare loop"])
    print(f"{steps:,} steps, best of {turns}")
    for name, times in taken.items():
        best = min(times)
        print(f"{name:<28} {best / steps * 1e9:7.0f} ns a step   {best / bare - 1:+6.1%}")


if __name__ == "__main__":
    main()
