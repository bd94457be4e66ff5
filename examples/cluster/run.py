"""Three nodes, Redis and a load balancer, started with one command.

    python examples/cluster/run.py              nginx in front
    python examples/cluster/run.py haproxy      HAProxy in front

Needs redis-server, nginx or haproxy, and rtpush[redis]. Open the printed
address in two windows, then kill a node: the windows go on with another one.
Publish with the printed key: rtpush publish hello world --token KEY.
Ctrl+C stops everything. PORT=5000 is where it opens; PORT=0 takes free ports.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
# As they stand in the configurations: the balancer, three nodes, Redis.
PORTS = ["5000", "5001", "5002", "5003", "6390"]
# Servers live in sbin, which is not in every user's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
PATIENCE = 20.0


def ports() -> list[str]:
    """The ports to use in place of PORTS."""
    wanted = os.environ.get("PORT", "5000")
    if wanted != "0":
        return [wanted, *PORTS[1:]]
    probes = [socket.socket() for _ in PORTS]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


def program(name: str) -> str:
    path = shutil.which(name, path=PATH)
    if path is None:
        sys.exit(f"{name} is not installed")
    return path


def redis(port: str, folder: Path) -> list[str]:
    flags = ["--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"]
    return [program("redis-server"), "--port", port, *flags, "--loglevel", "warning"]


def api_key() -> tuple[str, str]:
    """A key for publishers, and the hash that the nodes know it by."""
    command = [sys.executable, "-m", "rtpush", "token", "--api-key"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return made.stdout.strip(), made.stderr.split()[-1]


def node(port: str, log: str, key_hash: str) -> list[str]:
    flags = ["--log", log, "--trusted-proxies", "127.0.0.1", "--log-level", "warning"]
    flags += ["--api-keys", key_hash]
    return [sys.executable, "-m", "rtpush", "--port", port, *flags]


def balancer(kind: str, used: list[str], folder: Path) -> list[str]:
    source = HERE / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind]
    text = source.read_text()
    for written, port in zip(PORTS, used, strict=True):
        text = text.replace(f":{written}", f":{port}")
    config = folder / source.name
    config.write_text(text)
    if kind == "haproxy":
        return [program("haproxy"), "-db", "-f", str(config)]
    start = ["-e", "stderr", "-p", str(folder), "-c", str(config)]
    return [program("nginx"), *start, "-g", f"daemon off; pid {folder}/nginx.pid;"]


def start(running: ExitStack, command: list[str]) -> int:
    """Until `running` ends; the process."""
    # In a session of its own: Ctrl+C is for us, who stop them in order.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    running.callback(process.wait)
    running.callback(process.terminate)
    return process.pid


def until_ready(url: str) -> None:
    """Until it answers, and all that is behind it."""
    pause = threading.Event()
    for _ in range(round(PATIENCE / 0.05)):
        try:
            with urlopen(f"{url}readyz"):
                return
        except OSError:
            pause.wait(0.05)
    sys.exit("it did not start; what went wrong is told above")


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "nginx"
    used = ports()
    opens, *nodes, redis_port = used
    log = f"redis://127.0.0.1:{redis_port}/0"
    key, key_hash = api_key()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        # What is started last is stopped first: the nodes store what they have
        # accepted while Redis is still there.
        start(running, redis(redis_port, folder))
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", int(redis_port))):
                stopping.wait(0.05)
        pids = [start(running, node(port, log, key_hash)) for port in nodes]
        for port in nodes:
            until_ready(f"http://127.0.0.1:{port}/")
        start(running, balancer(kind, used, folder))
        until_ready(f"http://127.0.0.1:{opens}/")
        print(f"Open  http://127.0.0.1:{opens}/")
        print("Nodes", *pids)
        print("Key  ", key)
        print("Stop  Ctrl+C", flush=True)
        stopping.wait()


if __name__ == "__main__":
    main()
