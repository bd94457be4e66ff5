"""Three transports, one session: WebSocket, Server-Sent Events, long-poll."""
