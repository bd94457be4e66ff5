"""The server as an ASGI application. See `rtpush.ASGIApp`."""
