"""A chat: rooms, names, who is here, and what was said while you were away.

python examples/chat/app.py, then open http://127.0.0.1:5000/ in two windows.
"""

import os
from collections import defaultdict
from pathlib import Path

import rtpush

server = rtpush.Server(
    port=int(os.environ.get("PORT", "5000")),
    client=Path(__file__).parent / "page",
    log="sqlite:chat.db",
)
# Who is in which room: room → sid → name.
here = defaultdict(dict)


@server.event
async def enter(sid, data):
    """What a handler returns is the client's acknowledgement."""
    name, room = str(data["name"]).strip()[:30], str(data["room"]).strip()[:60]
    if not name or not room:
        raise rtpush.RtpushError("bad_request", "A name and a room are needed.")
    await leave(sid)
    await server.save_session(sid, {"name": name, "room": room})
    await server.enter_room(sid, room)
    here[room][sid] = name
    await server.emit("here", sorted(here[room].values()), room=room, key="here")
    return {"name": name, "room": room}


@server.event
async def say(sid, text):
    """Only who is in a room has somebody to talk to."""
    session = await server.get_session(sid)
    if not session:
        raise rtpush.RtpushError("forbidden", "Enter a room first.")
    said = {"name": session["name"], "text": str(text)[:1000]}
    await server.emit("said", said, room=session["room"])


@server.event
async def leave(sid):
    """Also what happens when a connection ends."""
    session = await server.get_session(sid)
    if session and here[session["room"]].pop(sid, None):
        room = session["room"]
        await server.emit("here", sorted(here[room].values()), room=room, key="here")
        if not here[room]:
            del here[room]


server.on("disconnect", leave)

if __name__ == "__main__":
    server.run()
