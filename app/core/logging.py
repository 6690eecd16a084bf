"""Logs are events with fields: JSON, or coloured lines for a terminal; on stderr unless a file is named."""

import logging
import sys
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import structlog

from app.core.config import LogFormat, LogLevel

P = ParamSpec("P")
T = TypeVar("T")

_OWN = "app"  # the standard library's logger that the node's own events go through


def configure_logging(
    level: LogLevel | int, *, libraries: LogLevel | int = "warning", form: LogFormat | None = None,
    file: Path | None = None,
) -> None:  # fmt: skip
    """Sets up this process: the node's own events from `level` on, what libraries log from `libraries` on. Without a
    `form` a terminal gets lines, anything else JSON."""
    handler = WatchedFileHandler(file, encoding="utf-8") if file else logging.StreamHandler(sys.stderr)
    is_console = form == "console" or (form is None and file is None and sys.stderr.isatty())
    handler.setFormatter(_formatter(is_console=is_console))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_number(libraries))
    logging.getLogger(_OWN).setLevel(_number(level))
    structlog.configure(
        processors=[*_COMMON, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=lambda *_: logging.getLogger(_OWN),
        cache_logger_on_first_use=False,
    )


def in_this_context(function: Callable[P, T]) -> Callable[P, T]:
    """The same for another thread to call, once: what it logs has the fields that are bound here and now."""
    return cast(Callable[P, T], partial(copy_context().run, function))


def _name_task(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """What Celery says of a task outside it gets that task's fields too. The rest of what comes along, arguments among
    it, stays out."""
    data = getattr(event.get("_record"), "data", None)
    if isinstance(data, dict) and {"id", "name"} <= data.keys():
        event.update(task=data["name"], task_id=data["id"])
    return event


_COMMON: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _formatter(*, is_console: bool) -> logging.Formatter:
    # Tracebacks are plain: the other kinds show what local variables hold.
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_COMMON, structlog.stdlib.add_logger_name, _name_task],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )


def _number(level: LogLevel | int) -> int:
    return level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]
