"""Notifications for each user, on all of their devices, and a count of those unread.

python examples/notifications/app.py, then open http://127.0.0.1:5000/?user=ada in two
windows, http://127.0.0.1:5000/?user=ben in a third, and from a shell:

    curl -X POST http://127.0.0.1:5000/api/publish \
        -d '{"event": "notify", "room": "user:ada", "data": {"text": "Your order has left."}}'

Who was away for a minute, or a day, is told on coming back: the log keeps it.
"""

import os
from pathlib import Path
from urllib.parse import parse_qs

import rtpush

server = rtpush.Server(
    port=int(os.environ.get("PORT", "5000")),
    client=Path(__file__).parent / "page",
    log="sqlite:notifications.db",
)


@server.event
async def connect(sid, environ):
    """Rooms that `connect` enters are read from where the client was: nothing is missed.

    Here the name is believed. A real application looks at a cookie or a token.
    """
    (user,) = parse_qs(environ["QUERY_STRING"]).get("user", ["guest"])
    await server.enter_room(sid, f"user:{user}")
    await server.save_session(sid, {"user": user})


@server.event
async def read(sid, data):
    """What is read on one device is read on all."""
    session = await server.get_session(sid)
    await server.emit("read", data, room=f"user:{session['user']}", skip_sid=sid)


if __name__ == "__main__":
    server.run()
