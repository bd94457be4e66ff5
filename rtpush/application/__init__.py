"""The application: what becomes of what clients send, what a program says, the task worker."""
