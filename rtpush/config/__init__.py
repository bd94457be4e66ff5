"""Every setting once: flags, environment, TOML, Python and the docs come from it."""

from .settings import Settings

__all__ = ["Settings"]
