"""What hostile clients cost: the server's memory, and a good client's round trip.

`make bench-hostile`, or `python bench/hostile.py [--seconds 60] [ATTACK …]`. Linux only.

Each attack has a server of its own with default limits, and comes from one address
through a proxy that the server trusts, so the limits of an address hold. A good
client asks for a `pong` again and again, before the attack and while it lasts.

Memory stands beside the bound of docs/security.md, and a round trip during the attack
beside one before it. To add an attack, write a function that takes `Attack` and returns
when its time is up, and name it in ATTACKS with what it may make the server hold (attacks.py).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing

from attacks import ATTACKS, MIB, PREPARED, Attack, frame
from crowd import Crowd
from servers import Kind, Server, raise_file_limit

PAUSE = 0.005


class Good:
    """A client that asks for a pong and waits for it."""

    def __init__(self, port: int) -> None:
        self._crowd = Crowd(port, "/ws?room=good")
        self._crowd.open(1)
        (self._sock,) = self._crowd._sockets
        self._frame = frame(1, json.dumps({"event": "ping", "data": "#good#"}).encode())

    def round_trips(self, seconds: float) -> list[float]:
        """Milliseconds, one after the other."""
        found: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(PAUSE)
            begun = time.perf_counter()
            self._sock.sendall(self._frame)
            # What others publish may come in between; it holds no mark.
            tail = b""
            while b"#good#" not in tail:
                tail = tail[-8:] + self._sock.recv(MIB)
            found.append(1e3 * (time.perf_counter() - begun))
        return found

    def close(self) -> None:
        """Go."""
        self._crowd.close()


# ---- measuring ---------------------------------------------------------------


def run(attack: Callable[[Attack], None], port: int, seconds: float) -> None:
    """Attack for so many seconds."""
    raise_file_limit(4000)
    attack(Attack(port, time.monotonic() + seconds))


def begin(attack: Callable[[Attack], None], port: int, seconds: float) -> multiprocessing.Process:
    """Begin an attack, in a process of its own."""
    attacker = multiprocessing.Process(target=run, args=(attack, port, seconds))
    attacker.start()
    return attacker


def server_kind() -> Kind:
    """A server with default limits, whose log is in memory."""
    command = [sys.executable, "-m", "rtpush", "--log", "memory:", "--log-level", "error"]
    return Kind("rtpush", [*command, "--trusted-proxies", "127.0.0.1", "--port"], "/ws")


def measure(attack: Callable[[Attack], None], may_hold: float, seconds: float) -> str:
    """One line of the table."""
    with Server(server_kind()) as server, closing(Good(server.port)) as good:
        if attack in PREPARED:
            preparing = begin(PREPARED[attack], server.port, seconds)
            while preparing.is_alive():
                good.round_trips(0.1)
            good.round_trips(1)
        before, memory = good.round_trips(min(seconds / 3, 10)), server.memory()
        attacker = begin(attack, server.port, seconds)
        during = good.round_trips(seconds)
        peak = server.peak_memory()
        attacker.join()
    calm, busy = statistics.median(before), statistics.median(during)
    worst = max(before)
    return (
        f"{attack.__name__:<26} {memory / MIB:3.0f} + {(peak - memory) / MIB:4.0f} MiB "
        f"(at most {may_hold:.0f})   median "
        f"{calm:.2f} → {busy:.2f} ms (x {busy / calm:.1f})"
        f"   worst {worst:.1f} → {max(during):.1f} ms (x {max(during) / worst:.1f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="how long each attack lasts [10]")
    names = [attack.__name__ for attack in ATTACKS]
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=", ".join(names))
    args = parser.parse_args()
    raise_file_limit(4000)
    for attack, may_hold in ATTACKS.items():
        if not args.attacks or attack.__name__ in args.attacks:
            print(measure(attack, may_hold, args.seconds), flush=True)


if __name__ == "__main__":
    main()
