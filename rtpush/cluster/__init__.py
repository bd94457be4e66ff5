"""The cluster: the sessions of all nodes as one picture, and many processes on one port."""
