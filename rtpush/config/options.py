"""The types of the settings as programs give them.

A type checker must read these lines, so they cannot be made from `Settings`;
a test holds both to the same names, kinds and order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from .hook_settings import HookOptions, HookSettings
from .room_rules import RoomOptions, RoomRule

__all__ = ["Options"]


class Options(TypedDict, total=False):
    """Settings by name. Durations are seconds or text like "30d", sizes bytes or "64KiB"."""

    # Listening
    host: str
    port: int
    client: Path | str | None
    content_security_policy: str
    workers: int
    tls_cert: Path | str | None
    tls_key: Path | str | None

    # Authentication
    auth_secret: str
    auth_keys: str
    auth_audience: str
    auth_leeway: float | str
    token_in_query: bool
    api_keys: str | Sequence[str]
    insecure: bool
    allow_origins: str | Sequence[str]
    allow_hosts: str | Sequence[str]
    trusted_proxies: str | Sequence[str]
    hooks: str | HookOptions | HookSettings | None

    # Log
    log: str
    retention_count: int
    retention_bytes: int | str
    retention_age: float | str

    # Tasks
    task_ttl: float | str
    cancel_timeout: float | str
    claim_lease: float | str
    max_attempts: int
    finished_for: float | str

    # Connections
    heartbeat: float | str
    write_timeout: float | str
    poll_timeout: float | str
    session_lease: float | str
    high_water: int | str
    grace: float | str
    compress: bool

    # Limits
    relay: str | Sequence[str]
    open_rooms: str | Sequence[str]
    rooms: str | Mapping[str, RoomOptions] | tuple[RoomRule, ...]
    max_message: int | str
    max_batch: int
    max_body: int | str
    max_rooms: int
    max_connections: int
    max_per_address: int
    max_per_subject: int
    max_tasks: int
    max_task: int | str
    max_board: int | str
    max_retained: int
    max_state: int | str
    rate_messages: int
    rate_bytes: int | str
    request_timeout: float | str

    # Demo
    demo: bool

    # Other
    log_level: str
