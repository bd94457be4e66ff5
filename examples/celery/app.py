"""A Celery worker whose tasks are watched live, and cancelled on the page.

pip install celery, then python examples/celery/app.py and open http://127.0.0.1:5000/. It
starts an rtpush beside itself, asks for two reports, and works them off; the second fails.
Another shell in the same folder asks for more: python examples/celery/app.py "a title"
"""

import os
import subprocess
import sys
import threading
import time

from celery import Celery

from rtpush import Publisher
from rtpush.contrib.celery import report as tell
from rtpush.contrib.celery import revoke_cancelled, show_tasks

PUSH_PORT = int(os.environ.get("PUSH_PORT", "5000"))
# Made once; each of Celery's forks has connections of its own.
PUSH = f"http://127.0.0.1:{PUSH_PORT}"
publisher = Publisher(PUSH, timeout=30)

# A folder in place of a broker, so that nothing has to be installed. Yours is Redis or RabbitMQ.
os.makedirs("queue", exist_ok=True)
app = Celery("reports", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}
# Celery's id is the task's: one name for it in both worlds.
show_tasks(publisher)


@app.task(bind=True, name="report", max_retries=0)
def report(self, title):
    """Write five pages, and tell of each; a cancel ends it at the next one."""
    for page in range(1, 6):
        time.sleep(0.2)
        tell(publisher, self, 20 * page, f"page {page} of 5")
        if title == "too long" and page == 4:
            raise ValueError("there is no more paper")
    return {"pages": 5}


def main():
    """Start what is needed, and work."""
    push = subprocess.Popen([sys.executable, "-m", "rtpush", f"--port={PUSH_PORT}"])
    try:
        report.delay("a short one")
        report.delay("too long")
        threading.Thread(target=revoke_cancelled, args=[app, PUSH], daemon=True).start()
        app.worker_main(["worker", "--pool=solo", "--loglevel=info"])
    finally:
        push.terminate()
        push.wait()


if __name__ == "__main__":
    if sys.argv[1:]:
        report.delay(" ".join(sys.argv[1:]))
    else:
        main()
