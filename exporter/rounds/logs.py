"""Log lines on standard error, as logfmt or JSON."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TypeAlias

import structlog
from structlog.typing import Processor

Format: TypeAlias = Literal["logfmt", "json"]


#: Above every level that is used.
_NEVER = logging.CRITICAL + 1


def configure_logs(level: str, form: Format) -> None:
    """Send structured events, and those of libraries that use ``logging``, to standard error.

    Args:
        level: ``debug``, ``info``, ``warn`` or ``error``.
        form: how a line is written.
    """
    threshold = getattr(logging, {"warn": "WARNING"}.get(level, level.upper()))
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    render: Processor
    if form == "json":
        render = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        render = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            # A traceback's source lines and messages may hold data, so no traceback is ever written.
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_traceback, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # These write statements and values.
    for telling in ("sqlalchemy", "snowflake", "psycopg", "pymysql"):
        logging.getLogger(telling).setLevel(_NEVER)
    for noisy in ("httpx", "httpcore", "asyncio", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _without_traceback(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    error = event.pop("exc_info", None)
    if isinstance(error, tuple) and error[0] is not None:
        event["exception"] = error[0].__name__
    event.pop("stack_info", None)
    return event
