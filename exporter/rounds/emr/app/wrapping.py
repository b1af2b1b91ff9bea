"""Decorates whatever can be called, so that neither its result nor its exception changes."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Protocol

log = logging.getLogger("rounds.emr")


class Watch(Protocol):
    """Is told of calls. No method may raise, and none may keep the exception."""

    def begin(self) -> float:
        """A call begins; what is given goes to the other methods."""

    def ok(self, begin: float, result: object) -> None:
        """It gave this result."""

    def failed(self, begin: float, error: BaseException) -> None:
        """It raised this, of whose traceback the first entry is the decorator's own."""


def wrap(target: Any, watch: Watch) -> Any:
    """Decorate a function, a coroutine function, a generator function, plain or async, or a method.

    A generator's time is from its first step to its end. What cannot be decorated, such as a class, is given back as
    it is.
    """
    if isinstance(target, classmethod | staticmethod):
        return type(target)(wrap(target.__func__, watch))
    if isinstance(target, property):
        getter = target.fget and wrap(target.fget, watch)
        return property(getter, target.fset, target.fdel, target.__doc__)
    if not callable(target) or isinstance(target, type):
        log.warning("cannot decorate a %s, left it as it is", type(target).__name__)
        return target
    kind = _kind(target)
    return functools.wraps(target)(kind(target, watch))


def _kind(target: Any) -> Callable[[Any, Watch], Any]:
    # An object may be callable by such a function too.
    for each in (target, getattr(type(target), "__call__", None)):  # noqa: B004
        if inspect.iscoroutinefunction(each):
            return _coroutine
        if inspect.isasyncgenfunction(each):
            return _async_generator
        if inspect.isgeneratorfunction(each):
            return _generator
    return _function


def _function(target: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    begin_of, ok, failed = watch.begin, watch.ok, watch.failed

    def call(*args: Any, **kwargs: Any) -> Any:
        begin = begin_of()
        try:
            result = target(*args, **kwargs)
        except BaseException as error:
            # At the limit of recursion it may not be possible to say anything. A try costs nothing until then, unlike
            # what suppresses exceptions.
            try:  # noqa: SIM105
                failed(begin, error)
            except Exception:  # noqa: S110
                pass
            raise
        try:  # noqa: SIM105
            ok(begin, result)
        except Exception:  # noqa: S110
            pass
        return result

    return call


def _coroutine(target: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        begin = watch.begin()
        try:
            result = await target(*args, **kwargs)
        except BaseException as error:
            watch.failed(begin, error)
            raise
        watch.ok(begin, result)
        return result

    return call


def _generator(target: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        begin = watch.begin()
        try:
            result = yield from target(*args, **kwargs)
        except BaseException as error:
            watch.failed(begin, error)
            raise
        watch.ok(begin, result)
        return result

    return call


def _async_generator(target: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        begin = watch.begin()
        try:
            inner = target(*args, **kwargs)
            step = inner.__anext__()
            while True:
                try:
                    value = await step
                except StopAsyncIteration:
                    break
                thrown = None
                try:
                    sent = yield value
                except BaseException as error:
                    thrown = error
                # Outside of that block, or what the generator raises would have this as its context.
                if thrown is None:
                    step = inner.asend(sent)
                elif isinstance(thrown, GeneratorExit):
                    await inner.aclose()
                    raise thrown  # noqa: TRY301 - as what follows it must be seen to be raised too
                else:
                    step = inner.athrow(thrown)
                    # A frame that has an exception that has the frame would live until the garbage is collected.
                    del thrown
        except BaseException as error:
            watch.failed(begin, error)
            raise
        watch.ok(begin, None)

    return call
