"""Container logs: from the kubelet's source to the client, as they are.

Invariant: this server stores no log; it asks the source that the kubelet registered and streams what comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.values import Document, dig, parse_timestamp


class LogSource(Protocol):
    """Where logs come from. An async generator function fits:

    `async def read(...): yield line`. It ends by itself when not following, or when the container ended.
    Raises LookupError (its text reaches the client) when there is no such log.
    """

    def read(
        self,
        namespace: str,
        name: str,
        container: str,
        follow: bool,
        tail_lines: int | None,
        since_seconds: int | None,
        previous: bool,
        timestamps: bool,
    ) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class LogRequest:
    """v1.PodLogOptions. `limit_bytes` None means no limit."""

    container: str
    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = False


def read_request(pod: Document, query: Mapping[str, str], now: datetime) -> LogRequest:
    """Check the query against the pod; StatusError 400 in the words kubectl prints."""
    name = pod["metadata"]["name"]
    known = [c["name"] for field in ("initContainers", "containers") for c in pod["spec"].get(field) or ()]
    container = query.get("container") or ""
    if not container:
        if len(known) > 1:
            text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(known)}]"
            raise errors.bad_request(text)
        container = known[0]
    elif container not in known:
        raise errors.bad_request(f"container {container} is not valid for pod {name}")
    since = _number(query, "sinceSeconds")
    if since is None and query.get("sinceTime"):
        since = max(0, int((now - _moment(query["sinceTime"])).total_seconds()))
    request = LogRequest(
        container=container,
        follow=query.get("follow") in ("true", "1"),
        previous=query.get("previous") in ("true", "1"),
        tail_lines=_number(query, "tailLines"),
        since_seconds=since,
        limit_bytes=_number(query, "limitBytes"),
        timestamps=query.get("timestamps") in ("true", "1"),
    )
    _refuse_unstarted(pod, request)
    return request


def _refuse_unstarted(pod: Document, request: LogRequest) -> None:
    name = pod["metadata"]["name"]
    if not dig(pod, "spec", "nodeName"):
        raise errors.bad_request(f"pod {name} does not have a host assigned")
    for field in ("containerStatuses", "initContainerStatuses"):
        for status in dig(pod, "status", field, default=[]):
            if status.get("name") != request.container:
                continue
            reason = dig(status, "state", "waiting", "reason")
            if reason and not dig(status, "lastState", "terminated"):
                text = f'container "{request.container}" in pod "{name}" is waiting to start: {reason}'
                raise errors.bad_request(text)


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        problem = errors.invalid_value(name, text, "must be greater than or equal to 0")
        raise errors.invalid("PodLogOptions", "", [problem])
    return number


def _moment(text: str) -> datetime:
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise errors.bad_request(f"sinceTime is no RFC 3339 time: {text!r}") from error
