"""Access: who a client is, what it may do, where it connects from, and how much it may send."""
