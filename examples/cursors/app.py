"""A board where everybody sees everybody's pointer.

python examples/cursors/app.py, then open http://127.0.0.1:5000/ in two windows.

Pointers move sixty times a second and nobody wants to see yesterday's, so they are
volatile: sent to those who are connected and keep up, never logged.
"""

import os
from itertools import count
from pathlib import Path

import rtpush

server = rtpush.Server(
    port=int(os.environ.get("PORT", "5000")), client=Path(__file__).parent / "page", log="memory:"
)
numbers = count(1)


@server.event
async def connect(sid, environ):
    """A number in place of the sid, which is a secret."""
    await server.save_session(sid, {"number": next(numbers)})


@server.event
async def move(sid, data):
    """To everybody else, at once."""
    session = await server.get_session(sid)
    place = {"who": session["number"], "x": float(data["x"]), "y": float(data["y"])}
    await server.emit("moved", place, skip_sid=sid, volatile=True)


@server.event
async def disconnect(sid):
    """Take the pointer away."""
    session = await server.get_session(sid)
    await server.emit("gone", {"who": session["number"]}, volatile=True)


if __name__ == "__main__":
    server.run()
