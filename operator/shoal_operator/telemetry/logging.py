"""Log lines: one line each, for people or for collectors.

Invariant: nothing that holds a secret is given to a logger (values of Secrets, tokens and manifests of
Secrets have no ``repr`` that shows them); a line is at most ``LINE_MAX`` characters, stack traces aside.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from shoal_operator.control.passes import current

LINE_MAX: Final = 4_096

_NOISY: Final = ("kopf", "aiohttp", "asyncio", "grpc")
"""Libraries that have much to say and little to tell: from warnings on."""


def configure(log_format: str, level: str) -> None:
    """Send all logs to standard error.

    Args:
        log_format: ``text`` or ``json``.
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class TextFormatter(logging.Formatter):
    """``12:04:31.207 info  kube.informer: ...``, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        source = record.name.removeprefix("shoal_operator.")
        line = f"{stamp} {record.levelname.lower():7} {source}: {_message(record)}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and error with a stack trace.

    Lines of a pass have ``controller``, ``namespace``, ``name``, ``pass`` (its number) and ``uid`` as well, and
    ``reason`` where one was given to the logger as ``extra``.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields_of_pass(),
        }
        if getattr(record, "reason", None) is not None:
            entry["reason"] = str(record.__dict__["reason"])
        if record.exc_info is not None:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _fields_of_pass() -> dict[str, object]:
    under_way = current()
    if under_way is None:
        return {}
    fields: dict[str, object] = {"controller": under_way.controller, "pass": under_way.number}
    if isinstance(under_way.key, tuple) and len(under_way.key) == 2:
        fields |= zip(("namespace", "name"), under_way.key, strict=True)
    return fields | ({"uid": under_way.uid} if under_way.uid else {})


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage().replace("\n", "\\n")
    return text if len(text) <= LINE_MAX else text[: LINE_MAX - 1] + "…"
