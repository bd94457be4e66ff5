"""A chat: rooms, names, who is here, and what was said before you came and while you were away.

python examples/chat/app.py, then open http://127.0.0.1:5000/ in two windows.
"""

import os
from pathlib import Path

import rtpush

server = rtpush.Server(
    port=int(os.environ.get("PORT", "5000")),
    client=Path(__file__).parent / "page",
    log="sqlite:chat.db",
)


@server.event
async def join(sid, data):
    """Let in who has a name. Who is here, and what was said, the page asks for by itself."""
    if "presence" not in data:
        # A page that comes back names its room first, and says who it is then.
        return
    name = str(data["presence"].get("name", "")).strip()
    if not 0 < len(name) <= 30:
        raise rtpush.RtpushError("bad_request", "A name of up to 30 characters is needed.")
    await server.save_session(sid, {"name": name, "room": data["room"]})


@server.event
async def say(sid, text):
    """Only who is in a room has somebody to talk to."""
    session = await server.get_session(sid)
    if not session:
        raise rtpush.RtpushError("forbidden", "Enter a room first.")
    said = {"name": session["name"], "text": str(text)[:1000]}
    await server.emit("said", said, room=session["room"])


if __name__ == "__main__":
    server.run()
