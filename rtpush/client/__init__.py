"""Clients for Python programs: one lasting connection, with recovery, over any transport."""
