"""Errors that nobody foresaw and that stop nothing: the log has them whole, and whoever listens hears of them."""

from collections.abc import Callable

import structlog

log = structlog.get_logger()

_listeners: list[Callable[[BaseException], None]] = []


def listen(listener: Callable[[BaseException], None]) -> None:
    """Has the listener told of each from here on, in the thread where it was raised."""
    _listeners.append(listener)


def report(error: BaseException) -> None:
    """Tells of an error that its catcher goes on after. One that goes on its way is told of where it ends."""
    log.error("nobody foresaw this error", error=type(error).__name__, exc_info=error)
    for listener in _listeners:
        listener(error)
