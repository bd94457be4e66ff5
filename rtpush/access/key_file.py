"""The key file: an API key beside the log, for the server and programs of its user.

The server, `rtpush publish` and `Publisher` find it by themselves, so that a key costs
nobody a setting. Only its owner may read it: a program that reads it may publish.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["KeyFileError", "key_file_of", "local_key_file", "read_key_file", "write_key_file"]

NAME: Final = "rtpush.key"
# A key of `rtpush token --api-key` has 43 characters.
MAX_BYTES: Final = 4096


class KeyFileError(Exception):
    """The key file cannot be used. The message is one sentence that says what to do."""


def key_file_of(log: str, cwd: Path) -> Path:
    """The key file of a server with this setting `log` that was started in `cwd`."""
    scheme, _, path = log.partition(":")
    return (cwd / path).parent / NAME if scheme == "sqlite" and path else cwd / NAME


def local_key_file(environ: Mapping[str, str], cwd: Path) -> Path:
    """The key file of a server that runs with the environment and folder of this program."""
    return key_file_of(environ.get("RTPUSH_LOG") or _log_in_toml(environ, cwd), cwd)


def _log_in_toml(environ: Mapping[str, str], cwd: Path) -> str:
    # What is wrong with the file is the server's to say.
    with suppress(OSError, ValueError):
        text = (cwd / environ.get("RTPUSH_CONFIG", "rtpush.toml")).read_text(encoding="utf-8")
        return str(tomllib.loads(text).get("log", ""))
    return ""


def read_key_file(path: Path) -> str | None:
    """Read a key file.

    Args:
        path: Where it would be.

    Returns:
        The key; None when there is no such file.

    Raises:
        KeyFileError: Others may read the file, or it holds no key.
    """
    try:
        # The mode of what was opened, not of what stands there by then.
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise KeyFileError(f"the key file {path} cannot be read: {exc.strerror}") from exc
    # Windows has no such mode; there the folder's rights count.
    if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"others may read the key file {path}: chmod 600 {path}")
    key = raw.decode("ascii", "replace").strip()
    if not key or not (key.isascii() and key.isprintable()) or len(raw) > MAX_BYTES:
        raise KeyFileError(
            f"the key file {path} holds no key; remove it, then: rtpush token --api-key --save"
        )
    return key


def write_key_file(path: Path, key: str) -> None:
    """Write a key for its owner alone. Raises KeyFileError when there is such a file already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"there is a key file already: {path}; remove it first") from None
    except OSError as exc:
        raise KeyFileError(f"the key file {path} cannot be written: {exc.strerror}") from exc
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key + "\n")
