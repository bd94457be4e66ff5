"""Clients for Python programs: a lasting connection, with recovery, over any transport."""
