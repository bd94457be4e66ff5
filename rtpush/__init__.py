"""rtpush: a real-time push server. One append-only log, many readers."""

__version__ = "0.1.0"
