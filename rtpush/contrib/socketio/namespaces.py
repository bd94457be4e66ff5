"""Namespaces of python-socketio: there is the main one, `/`, alone.

Rules that hold here:

- Programs that name `/`, as an argument or as a class of handlers, go on as they are.
- Any other namespace is refused: rooms do what it did.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, ClassVar, Final, Protocol, TypeVar

__all__ = ["AsyncClientNamespace", "AsyncNamespace", "takes_namespace"]

C = TypeVar("C", bound=type[Any])

MAIN: Final = "/"


def check_namespace(given: Any) -> None:
    """Raises ValueError for a namespace other than `/`, or a list that has one."""
    names = [given] if given is None or isinstance(given, str) else given
    for name in names:
        if name not in (None, MAIN):
            raise ValueError(f"there is no namespace {name!r}, only {MAIN!r}: use rooms")


def takes_namespace(*methods: str, argument: str = "namespace") -> Callable[[C], C]:
    """Class decorator: these methods take the argument, which can only be `/`."""

    def decorate(cls: C) -> C:
        for name in methods:
            setattr(cls, name, _with_argument(getattr(cls, name), argument))
        return cls

    return decorate


def _with_argument(method: Callable[..., Any], argument: str) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        check_namespace(options.pop(argument, None))
        return method(*args, **options)

    of_method = signature(method)
    new = Parameter(argument, Parameter.KEYWORD_ONLY, default=None)
    parameters = sorted([*of_method.parameters.values(), new], key=lambda one: one.kind)
    call.__signature__ = of_method.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


class _Registry(Protocol):
    """A server or a client: what handlers are registered with."""

    def on(self, event: str, handler: Callable[..., Any]) -> Any: ...


class _Handlers:
    """Handlers of events in one class: `on_message` handles `message`."""

    # What instances take from the server or client that they are registered with.
    _forwarded: ClassVar[frozenset[str]]

    def __init__(self, namespace: str | None = None) -> None:
        """A namespace other than `/` raises ValueError."""
        check_namespace(namespace)
        self.namespace = MAIN
        self._registry: _Registry | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in self._forwarded:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        if self._registry is None:
            raise AttributeError(f"{name}: call register_namespace() first")
        return getattr(self._registry, name)

    def register_with(self, registry: _Registry) -> None:
        """Register each method named `on_…`."""
        if hasattr(self, "trigger_event"):
            raise TypeError("trigger_event() is never called here: handle the event * instead")
        self._registry = registry
        for name in dir(self):
            if name.startswith("on_"):
                registry.on(name.removeprefix("on_"), getattr(self, name))


class AsyncNamespace(_Handlers):
    """Handlers of a server; its methods are `self.emit`, `self.enter_room` and so on."""

    _forwarded = frozenset(
        {
            *("emit", "send", "call", "disconnect"),
            *("enter_room", "leave_room", "close_room", "rooms"),
            *("get_session", "save_session", "session"),
        }
    )


class AsyncClientNamespace(_Handlers):
    """Handlers of a client; its methods are `self.emit` and so on."""

    _forwarded = frozenset({"emit", "send", "call", "disconnect"})
