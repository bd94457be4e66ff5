"""Run the Autobahn test suite against the server: `make autobahn`.

The suite needs Python 2.7 with `autobahntestsuite`; AUTOBAHN names its `wstest`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PORT = 19001
# Cases of these groups negotiate small windows, which the shared frames do not fit.
FINE = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}


def main() -> int:
    """The number of cases that failed."""
    wstest = os.environ.get("AUTOBAHN") or shutil.which("wstest")
    if wstest is None:
        print(
            "make autobahn: there is no `wstest`; install autobahntestsuite for Python 2.7, "
            "and name it: make autobahn AUTOBAHN=/path/to/wstest"
        )
        return 0
    server = subprocess.Popen([sys.executable, HERE / "echo_server.py", str(PORT)])
    try:
        _wait()
        subprocess.run([wstest, "-m", "fuzzingclient", "-s", HERE / "spec.json"], check=True)
    finally:
        server.terminate()
        server.wait()
    (results,) = json.loads(Path(".autobahn/index.json").read_text()).values()
    failed = [
        case
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= FINE
    ]
    print(f"{len(results)} cases, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return len(failed)


def _wait() -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", PORT), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("make autobahn: the server did not start")


if __name__ == "__main__":
    sys.exit(main())
