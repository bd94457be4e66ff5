"""A kitchen on FastAPI: orders are watched by whoever is in the room of their table.

pip install fastapi uvicorn, then python examples/fastapi/app.py and open
http://127.0.0.1:8000/?table=7 in two windows. It starts an rtpush beside itself.
"""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from rtpush import AsyncPublisher

PORT = int(os.environ.get("PORT", "8000"))
PUSH_PORT = int(os.environ.get("PUSH_PORT", "5000"))
PUSH = f"http://127.0.0.1:{PUSH_PORT}"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Orders</title>
<style>:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }</style>
<h1>Table <span id="table"></span></h1>
<form id="order">
  <input id="dish" aria-label="Dish" required maxlength="50"><button>Order</button>
</form>
<ul id="orders" aria-live="polite"></ul>
<p id="state" role="status">connecting</p>
<script type="module">
  import { io } from "PUSH/rtpush.js";
  const $ = (id) => document.getElementById(id);
  const table = new URLSearchParams(location.search).get("table") ?? "1";
  const socket = io("PUSH");
  $("table").textContent = table;
  socket.on("connect", () => { $("state").textContent = "connected"; });
  socket.on("disconnect", () => { $("state").textContent = "away; coming back"; });
  for (const event of ["task_created", "task_progress", "task_completed"]) socket.on(event, show);
  socket.on("active_tasks", ({ tasks }) => tasks.forEach(show));
  socket.join(`table ${table}`);
  function show(order) {
    const item = $(order.id) ?? $("orders").appendChild(document.createElement("li"));
    item.id = order.id;
    item.textContent = order.result ?? `${order.message ?? "ordered"}…`;
  }
  $("order").onsubmit = async (submit) => {
    submit.preventDefault();
    const body = JSON.stringify({ table, dish: $("dish").value });
    const headers = { "content-type": "application/json" };
    $("order").reset();
    await fetch("/orders", { method: "POST", headers, body });
  };
</script>
</html>
""".replace("PUSH", PUSH)


class Order(BaseModel):
    """What a guest asks for."""

    table: str = Field(max_length=20)
    dish: str = Field(max_length=50)


@asynccontextmanager
async def lifespan(app):
    """One publisher for the whole application."""
    async with AsyncPublisher(PUSH) as app.state.publisher:
        yield


app = FastAPI(lifespan=lifespan)
cooking = set()


@app.get("/", response_class=HTMLResponse)
async def page():
    """The table's page."""
    return PAGE


@app.post("/orders", status_code=202)
async def order(order: Order):
    """Begin to cook; the answer does not wait for it."""
    task = asyncio.create_task(cook(order))
    cooking.add(task)
    task.add_done_callback(cooking.discard)


async def cook(order):
    """Only the room of the table sees it."""
    publisher = app.state.publisher
    async with publisher.task(room=f"table {order.table}", dish=order.dish) as task:
        for percent, doing in ((25, "chopping"), (50, "frying"), (75, "plating")):
            await task.progress(percent, f"{doing} {order.dish}")
            await asyncio.sleep(0.3)
        task.result = f"{order.dish} is served"


if __name__ == "__main__":
    flags = [f"--port={PUSH_PORT}", f"--allow-origins=http://127.0.0.1:{PORT}"]
    push = subprocess.Popen([sys.executable, "-m", "rtpush", *flags])
    try:
        uvicorn.run(app, port=PORT)
    finally:
        push.terminate()
