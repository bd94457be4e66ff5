"""How handlers are registered and called, by server and client alike."""
