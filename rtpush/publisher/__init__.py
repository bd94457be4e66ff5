"""Publish from anywhere: over HTTP, from a queue on disk, in the background."""
