"""Logs: one line per record on stderr, `key=value`, ours and those of the libraries alike.

A traceback follows its line as it is, for people.
"""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_FIRST: Final = ["timestamp", "level", "event"]
_logfmt: Final = structlog.processors.LogfmtRenderer(key_order=_FIRST, drop_missing=True, bool_as_flag=False)


def log_to_stderr() -> None:
    """Send all logs of this process to stderr."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=_render, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for chatty in ("httpx", "uvicorn.error"):  # a line per request, and four per start that say nothing
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _render(logger: WrappedLogger, name: str, fields: EventDict) -> str:
    traceback = fields.pop("exception", None)
    for unwanted in ("_record", "_from_structlog"):
        fields.pop(unwanted, None)
    line = _logfmt(logger, name, {key: _plain(value) for key, value in fields.items()})
    return f"{line}\n{traceback}" if traceback else str(line)


def _plain(value: object) -> object:
    """Lists as people write them; everything else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else value
