"""Hold the HTTP API to its own description: `schemathesis` against a server of this process.

    python fuzz/api.py [EXAMPLES]

Exit code 1 when it finds an answer that the description does not allow.
"""

from __future__ import annotations

import asyncio
import sys

from rtpush.config.settings import Settings
from rtpush.server import Server


async def main(examples: str) -> int:
    # A long-poll waits for something new; here nothing comes.
    settings = Settings(port=0, log="memory:", poll_timeout=0.1, rate_messages=1_000_000)
    async with Server(settings) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "run", f"{server.url}api/openapi.json"),
            # A stream has no end that a reader of answers could wait for.
            *("--max-examples", examples, "--request-timeout", "1", "--exclude-path", "/sse"),
        )
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "50")))
