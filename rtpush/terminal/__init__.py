"""Text for a terminal: colours, the banner, the task table."""
