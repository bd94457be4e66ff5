"""Hooks: an HTTP backend decides who gets in, and is told what clients do."""
