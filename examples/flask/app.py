"""Generation tasks on Flask, watched live on every device.

pip install flask, then python examples/flask/app.py and open http://127.0.0.1:8000/ in two
windows. It starts an rtpush beside itself; in production that is a service of its own.
"""

import atexit
import os
import subprocess
import sys
import threading
import time

from flask import Flask, jsonify, render_template, request

from rtpush import Publisher

PORT = int(os.environ.get("PORT", "8000"))
PUSH_PORT = int(os.environ.get("PUSH_PORT", "5000"))
PUSH = f"http://127.0.0.1:{PUSH_PORT}"

app = Flask(__name__)
# What must arrive waits on disk while rtpush is away, and is sent in order when it is back.
publisher = Publisher(PUSH, when_away="spool", spool="events.spool")


@app.get("/")
def index():
    """The page; `push` is where its script comes from and connects to."""
    return render_template("index.html", push=PUSH)


@app.post("/api/generate")
def generate():
    """Begin a task; whoever watches sees it, this request's sender like all others."""
    form = request.get_json()
    if not isinstance(form, dict) or not str(form.get("prompt", "")).strip():
        return jsonify(error="A prompt is needed."), 400
    threading.Thread(target=work, args=(form,), daemon=True).start()
    return jsonify(ok=True), 202


def work(form):
    """Any blocking code. What it raises fails the task, on every screen."""
    with publisher.task(formData=form, mode=form.get("mode", "fast")) as task:
        for step in range(1, 6):
            time.sleep(0.2)
            task.progress(20 * step, f"step {step} of 5")
            if form["prompt"] == "fail" and step == 3:
                raise RuntimeError("out of ink")
        task.result = {"text": form["prompt"].upper()}


if __name__ == "__main__":
    flags = [f"--port={PUSH_PORT}", f"--allow-origins=http://127.0.0.1:{PORT}"]
    atexit.register(subprocess.Popen([sys.executable, "-m", "rtpush", *flags]).terminate)
    app.run(port=PORT, threaded=True)
