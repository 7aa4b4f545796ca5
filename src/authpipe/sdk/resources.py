"""The resources of both clients, from one definition of every call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, final, overload

from authpipe.sdk import calls
from authpipe.sdk.calls import Call
from authpipe.sdk.core import Core
from authpipe.sdk.exchange import Steps

P = ParamSpec("P")
T = TypeVar("T")


class _Blocking(Protocol):
    def __call__(self, steps: Steps[T]) -> T: ...


class _Awaiting(Protocol):
    def __call__(self, steps: Steps[T]) -> Coroutine[Any, Any, T]: ...


@final
class Now:
    """Performs calls at once, in the calling thread."""

    def __init__(self, core: Core, pump: _Blocking) -> None:
        self._core = core
        self._pump = pump

    def perform(self, call: Call[T]) -> T:
        """The result of ``call``."""
        return self._pump(self._core.perform(call))


@final
class Awaited:
    """Performs calls when awaited."""

    def __init__(self, core: Core, pump: _Awaiting) -> None:
        self._core = core
        self._pump = pump

    def perform(self, call: Call[T]) -> Coroutine[Any, Any, T]:
        """A coroutine for the result of ``call``; nothing is sent before it is awaited."""
        return self._pump(self._core.perform(call))


R = TypeVar("R", Now, Awaited)


class Resource(Generic[R]):
    """A group of calls, performed in one of the two ways."""

    __slots__ = ("performer",)

    def __init__(self, performer: R) -> None:
        self.performer: R = performer


class Endpoint(Generic[P, T]):
    """A method made from a call: returns the result on a blocking client, a coroutine on an async one."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Now], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Awaited], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        if resource is None:
            return self
        performer = resource.performer

        @functools.wraps(self._build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return performer.perform(self._build(*args, **kwargs))

        return method


class ConnectSessions(Resource[R]):
    """``create``, ``get``, ``complete``."""

    create = Endpoint(calls.create_connect_session)
    get = Endpoint(calls.get_connect_session)
    complete = Endpoint(calls.complete_connect_session)


class Connections(Resource[R]):
    """``list``, ``get``, ``refresh``, ``reconnect``, ``disconnect``."""

    list = Endpoint(calls.list_connections)
    get = Endpoint(calls.get_connection)
    refresh = Endpoint(calls.refresh_connection)
    reconnect = Endpoint(calls.reconnect_connection)
    disconnect = Endpoint(calls.disconnect_connection)


class Installations(Resource[R]):
    """``list``, ``get``, ``refresh``, ``reconnect``, ``disconnect``."""

    list = Endpoint(calls.list_installations)
    get = Endpoint(calls.get_installation)
    refresh = Endpoint(calls.refresh_installation)
    reconnect = Endpoint(calls.reconnect_installation)
    disconnect = Endpoint(calls.disconnect_installation)


class Credentials(Resource[R]):
    """``store``.  Reading is ``get_credential`` on the client itself."""

    store = Endpoint(calls.store_credential)
