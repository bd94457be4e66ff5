"""The log: positions, entries, the task board, three logs, and how nodes talk."""
