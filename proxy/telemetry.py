"""Logging of this process: one structured line per thing that happened, on stderr.

The event is a constant (``session.stopped``), everything variable is a key. Libraries that use the standard logging
module are heard from WARNING on, in the same form. The other house has a twin of this file; a test holds them equal.
"""

import logging
import sys
from typing import Literal

import structlog

LIBRARY_LEVEL = logging.WARNING
FRAMES_MAX = 30


def configure(log_format: Literal["auto", "json", "console"], log_level: str) -> None:
    """Set up structlog and the standard logging module; to be called once, before the first line is logged."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    lead: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    rendering = _for_people() if console else _for_machines()
    structlog.configure(
        processors=[*lead, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _adopt_standard_logging([*lead, structlog.stdlib.add_logger_name], rendering)


def _for_people() -> list[structlog.types.Processor]:
    # Neither form of traceback shows local variables: they may hold credentials.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain, timestamp_key="time")]


def _for_machines() -> list[structlog.types.Processor]:
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=FRAMES_MAX)
    return [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]


def _adopt_standard_logging(lead: list[structlog.types.Processor], rendering: list[structlog.types.Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=lead,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LIBRARY_LEVEL)
    logging.captureWarnings(capture=True)
