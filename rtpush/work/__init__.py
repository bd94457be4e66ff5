"""Work on tasks: the functions that do it, and what runs them in a server or elsewhere."""
