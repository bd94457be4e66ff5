"""`--app`: Django and Flask on the server's port, started as their users start them."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from clients import WebSocket
from processes import running

DJANGO = """
import asyncio

import rtpush
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(SECRET_KEY="secret", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
server = rtpush.Server(log="memory:")

def news(request):
    asyncio.run(server.emit("news", request.GET["text"]))
    return HttpResponse("told " + request.META["REMOTE_ADDR"])

urlpatterns = [path("news", news)]
asgi, wsgi = get_asgi_application(), get_wsgi_application()
"""

FLASK = """
from flask import Flask, request
from rtpush import Publisher

app = Flask(__name__)

@app.get("/news")
def news():
    Publisher(f"{request.host_url}rtpush").publish("news", request.args["text"])
    return f"told {request.remote_addr}"
"""


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        (DJANGO, ["project:server", "--app", "project:asgi"]),
        (DJANGO, ["project:server", "--app", "project:wsgi"]),
        (FLASK, ["--log", "memory:", "--app", "project:app"]),
    ],
    ids=["django-asgi", "django-wsgi", "flask"],
)
async def test_an_application_on_the_port(source: str, flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(source)
    async with running(tmp_path, *flags) as server, aiohttp.ClientSession() as http:
        assert f"ws://127.0.0.1:{server.port}/rtpush/ws" in server.banner
        client = await WebSocket.open(f"{server.url}/rtpush", http)
        async with http.get(f"{server.url}/news", params={"text": "hello"}) as answer:
            assert await answer.text() == "told 127.0.0.1"
        assert (await client.until("news"))[-1]["data"] == "hello"
        await client.close()
        assert await server.stop() == (0, "")
