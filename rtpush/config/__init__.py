"""Every setting once: flags, environment, TOML, Python and the docs come from it."""

from .settings import ConfigError, Settings

__all__ = ["ConfigError", "Settings"]
