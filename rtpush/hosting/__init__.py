"""An ASGI or WSGI application on the server's port. See `Server.host_app`."""
