"""A guest book on Django: what is written is on every screen as soon as it is committed.

pip install django, then python examples/django/app.py and open http://127.0.0.1:8000/ in two
windows. It starts an rtpush beside itself. A real project has these parts in their own files.
"""

import atexit
import os
import subprocess
import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection, models, transaction
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path

from rtpush import Publisher

PORT = int(os.environ.get("PORT", "8000"))
PUSH_PORT = int(os.environ.get("PUSH_PORT", "5000"))
PUSH = f"http://127.0.0.1:{PUSH_PORT}"

settings.configure(
    DEBUG=True,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="an example's",
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "guests.db"}},
)
django.setup()
# A lost screen update is no reason to fail a request: it is dropped and counted.
publisher = Publisher(PUSH, when_away="drop")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guest book</title>
<style>:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }</style>
<h1>Guest book</h1>
<form id="write">
  <input id="text" aria-label="Text" required maxlength="200"><button>Write</button>
</form>
<ul id="entries" aria-live="polite"></ul>
<p id="state" role="status">connecting</p>
<script src="PUSH/dist/rtpush.min.js"></script>
<script>
  const $ = (id) => document.getElementById(id);
  const shown = new Set();
  const socket = io("PUSH");
  socket.on("disconnect", () => { $("state").textContent = "away; coming back"; });
  // The database is the truth on the first load, the log from then on.
  socket.on("connect", async () => {
    if (!socket.recovered) (await (await fetch("/entries")).json()).entries.forEach(show);
    $("state").textContent = "connected";
  });
  socket.on("written", show);
  function show({ id, text }) {
    if (shown.has(id)) return;
    shown.add(id);
    $("entries").append(Object.assign(document.createElement("li"), { textContent: text }));
  }
  $("write").onsubmit = async (submit) => {
    submit.preventDefault();
    const body = new URLSearchParams({ text: $("text").value });
    $("write").reset();
    await fetch("/write", { method: "POST", headers: { "X-CSRFToken": "TOKEN" }, body });
  };
</script>
</html>
""".replace("PUSH", PUSH)


class Entry(models.Model):
    """One line of the book."""

    text = models.CharField(max_length=200)

    class Meta:
        app_label = "guests"


def page(request):
    """The book."""
    return HttpResponse(PAGE.replace("TOKEN", get_token(request)))


def entries(request):
    """All that was written."""
    return JsonResponse({"entries": list(Entry.objects.values("id", "text"))})


@transaction.atomic
def write(request):
    """Publish when it is committed, so that nobody sees what was rolled back."""
    entry = Entry.objects.create(text=request.POST["text"][:200])
    said = {"id": entry.id, "text": entry.text}
    transaction.on_commit(lambda: publisher.publish("written", said))
    return JsonResponse(said, status=201)


urlpatterns = [path("", page), path("entries", entries), path("write", write)]

if __name__ == "__main__":
    flags = [f"--port={PUSH_PORT}", f"--allow-origins=http://127.0.0.1:{PORT}"]
    atexit.register(subprocess.Popen([sys.executable, "-m", "rtpush", *flags]).terminate)
    if Entry._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Entry)
    execute_from_command_line(["app.py", "runserver", "--noreload", f"127.0.0.1:{PORT}"])
