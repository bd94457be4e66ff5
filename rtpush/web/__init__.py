"""The HTTP API, and what every HTTP request passes."""
