"""Logs for the person at three in the morning: one line an event, its session with it, no secrets, no bodies, numbers
shortened (`jid.shorten` where they are logged)."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
# What must never be in a log, whoever wrote the line: keys, tokens and tickets, in texts and in URLs.
_SECRETS = re.compile(r"(wag_[0-9a-f]{12}_)[A-Za-z0-9_-]+|((?:access_token|access-token|ticket|apikey|token)=)[^&\s\"']+",
                      re.IGNORECASE)


def redact(text: str) -> str:
    return _SECRETS.sub(lambda m: f"{m.group(1) or m.group(2)}…", text)


def _redact_event(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event


def _journald(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
    """`<6>event key=value`: the number is the priority that journald takes away again."""
    level = str(event.pop("level", "info"))
    event.pop("timestamp", None)
    text = str(event.pop("event", ""))
    trace = event.pop("exception", "")
    # A line end in a value, which may come from elsewhere, must not look like a line of ours.
    fields = " ".join(f"{key}={_one_line(value)}" for key, value in event.items())
    lines = [*f"{text} {fields}".rstrip().splitlines(), *str(trace).splitlines()]
    return "\n".join(f"<{_PRIORITY.get(level, 6)}>{line}" for line in lines)


def _one_line(value: object) -> str:
    return "\\n".join(str(value).splitlines())


def configure(level: str, format: str, stream: TextIO | None = None) -> None:
    """Before neonize is imported, which would set up the root logger its own way. Goes to stderr."""
    out = stream or sys.stderr
    if format == "auto":
        format = "journald" if "JOURNAL_STREAM" in os.environ else "console" if out.isatty() else "json"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    if format == "console":
        shared.remove(structlog.processors.format_exc_info)
        renderer: Any = structlog.dev.ConsoleRenderer(colors=out.isatty())
    elif format == "journald":
        renderer = _journald
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "aiosqlite", "uvicorn.access", "uvicorn.error", "sse_starlette"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for strangers in ("multipart", "python_multipart"):         # a warning for each form that is broken
        logging.getLogger(strangers).setLevel(logging.ERROR)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False)
