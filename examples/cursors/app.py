"""A board where everybody sees everybody's pointer.

python examples/cursors/app.py, then open http://127.0.0.1:5000/ in two windows.

Pointers move sixty times a second and nobody wants to see yesterday's, so they are volatile
events: for those who are connected and keep up, never logged. The server says whose pointer
it is that has moved: a page could name another's. Whose pointers there are is presence: it is
told when a page comes, and when it has gone.
"""

import os
from pathlib import Path

import rtpush

server = rtpush.Server(
    port=int(os.environ.get("PORT", "5000")),
    client=Path(__file__).parent / "page",
    log="memory:",
    open_rooms="board",
)


@server.event
async def moved(sid, where):
    """Tell the other pages, which know the pointer by the public id of its member."""
    data = {"who": server.member_id(sid), "where": where}
    await server.emit("moved", data, room="board", skip_sid=sid, volatile=True)


if __name__ == "__main__":
    server.run()
