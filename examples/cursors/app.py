"""A board where everybody sees everybody's pointer.

python examples/cursors/app.py, then open http://127.0.0.1:5000/ in two windows.

Pointers move sixty times a second and nobody wants to see yesterday's, so the pages send
them to each other as volatile events: to those who are connected and keep up, never logged.
Whose pointers there are is presence: it is told when a page comes, and when it has gone.
"""

import os
from pathlib import Path

import rtpush

server = rtpush.Server(
    port=int(os.environ.get("PORT", "5000")), client=Path(__file__).parent / "page", log="memory:"
)

if __name__ == "__main__":
    server.run()
