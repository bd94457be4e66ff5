"""What a publish over HTTP costs, beside a handler of aiohttp's that does nothing.

`python bench/ingest.py [--rounds 3] [--seconds 2]`. Linux only.

Microseconds of CPU of the server's process for each request, on connections that stay open,
one request on each at a time. The servers take turns in each round, and the least counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from servers import Kind, Server, kinds_of_python

CONNECTIONS = 8
EVENT = {"event": "message", "data": "x" * 100}


async def serve_nothing(port: int) -> None:
    """Read each body and answer as a publish is answered."""
    from aiohttp import web

    async def publish(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b'{"id":"9f86d081884c-1"}\n', content_type="application/json")

    app = web.Application()
    app.router.add_post("/api/publish", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def run_bare(port: int) -> None:
    """The loop that rtpush has, too."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve_nothing(port))
    else:
        uvloop.run(serve_nothing(port))


def kinds() -> list[Kind]:
    """Both servers."""
    return [kinds_of_python()[0], Kind("aiohttp", [sys.executable, __file__, "--serve"])]


async def send(port: int, body: bytes, until: float) -> int:
    """Post again and again on one connection; how often."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    sent = 0
    while time.monotonic() < until:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        size = int(answer.lower().partition(b"content-length: ")[2].split()[0])
        await reader.readexactly(size)
        sent += 1
    writer.close()
    return sent


async def flood(port: int, body: bytes, seconds: float) -> int:
    """How many requests were answered."""
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(send(port, body, until) for _ in range(CONNECTIONS))))


def cost(kind: Kind, body: bytes, seconds: float) -> float:
    """Microseconds of CPU for one request."""
    with Server(kind) as server:
        asyncio.run(flood(server.port, body, seconds / 4))
        before = server.cpu()
        return 1e6 / asyncio.run(flood(server.port, body, seconds)) * (server.cpu() - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many counts [3]")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement [2]")
    args = parser.parse_args()
    if args.serve:
        run_bare(args.serve)
        return
    for name, body in (("one event", EVENT), ("100 events", [EVENT] * 100)):
        text = json.dumps(body).encode()
        found: dict[str, list[float]] = {}
        for _ in range(args.rounds):
            for kind in kinds():
                found.setdefault(kind.name, []).append(cost(kind, text, args.seconds))
        least = {kind: min(costs) for kind, costs in found.items()}
        line = "   ".join(f"{kind} {us:6.1f} us" for kind, us in least.items())
        print(f"{name:<12} {line}   x {least['rtpush'] / least['aiohttp']:.1f}", flush=True)


if __name__ == "__main__":
    main()
