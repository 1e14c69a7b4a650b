"""From HTTP to operations and back.

Invariant: a handler parses, calls one operation, and renders; it decides nothing about objects. Every path but
none is behind the token, every refusal is a metav1.Status.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from shoal_operator.local.apiserver import (
    deletion,
    discovery,
    errors,
    logs,
    negotiation,
    openapi,
    paths,
    protobuf,
    reads,
    subresources,
    tables,
    writes,
)
from shoal_operator.local.apiserver.context import Context, WriteOptions, read_delete_options
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.logs import LogSource
from shoal_operator.local.apiserver.paths import Target
from shoal_operator.local.apiserver.values import Document, encode
from shoal_operator.local.apiserver.watch import Hub, Watch

BODY_LIMIT_BYTES = 1024 * 1024
WATCH_TIMEOUT_SECONDS = 1800.0
BOOKMARK_SECONDS = 30.0
STALLED_CLIENT_SECONDS = 60.0
"""A client that takes nothing for this long is dropped."""

logger = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest, Resource, Target], Awaitable[web.StreamResponse]]


class Dispatcher:
    """Answers every request of one server."""

    def __init__(self, context: Context, hub: Hub, token: str) -> None:
        self._context = context
        self._hub = hub
        self._token = token.encode()
        self.log_source: LogSource | None = None
        self.closing = False

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Entry point for aiohttp."""
        try:
            self._authenticate(request)
            return await self._route(request)
        except StatusError as error:
            return _failure(error)
        except web.HTTPRequestEntityTooLarge:
            return _failure(errors.too_large(BODY_LIMIT_BYTES))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except RecursionError:
            return _failure(errors.bad_request("the object provided is nested too deeply"))
        except Exception as error:
            logger.exception("cannot answer %s %s", request.method, request.path)
            return _failure(errors.internal(f"{type(error).__name__}: {error}"))

    def _authenticate(self, request: web.BaseRequest) -> None:
        scheme, _, offered = request.headers.get("Authorization", "").partition(" ")
        matches = hmac.compare_digest(offered.strip().encode(errors="replace"), self._token)
        if scheme.lower() != "bearer" or not matches:
            raise errors.unauthorized()

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        target = paths.parse(path)
        if target is None:
            return self._non_resource(request, path)
        resource = self._context.registry.find(target.group, target.version, target.plural)
        if resource is None or (resource.namespaced and target.name and target.namespace is None):
            raise errors.no_such_path()
        if target.subresource:
            if target.subresource not in resource.subresources:
                raise errors.no_such_path()
            return await self._subresource(request, resource, target)
        table = self._named if target.name else self._collection
        handler = table().get(request.method)
        if handler is None:
            raise errors.method_not_allowed(request.method)
        return await handler(request, resource, target)

    def _collection(self) -> dict[str, Handler]:
        return {"GET": self._list_or_watch, "POST": self._create, "DELETE": self._delete_collection}

    def _named(self) -> dict[str, Handler]:
        return {"GET": self._get, "PUT": self._update, "PATCH": self._patch, "DELETE": self._delete}

    # -- paths that are no resources ------------------------------------------------------------------------

    def _non_resource(self, request: web.BaseRequest, path: str) -> web.Response:
        registry = self._context.registry
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed(request.method)
        clean = path.rstrip("/") or "/"
        if clean in ("/healthz", "/readyz", "/livez"):
            return web.Response(text="ok")
        found: Document | None
        match clean.split("/")[1:]:
            case ["version"]:
                found = discovery.VERSION
            case ["api" | "apis" as root]:
                return self._discovery_root(request, core=root == "api")
            case ["api", version]:
                found = discovery.resource_list(registry, "", version)
            case ["apis", group]:
                found = discovery.group(registry, group)
            case ["apis", group, version]:
                found = discovery.resource_list(registry, group, version)
            case ["openapi", "v3"]:
                found = openapi.index(registry)
            case ["openapi", "v3", "api", version]:
                found = openapi.document(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                found = openapi.document(registry, group, version)
            case [""]:
                found = {"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
            case _:
                found = None
        if found is None:
            raise errors.no_such_path()
        return _json(found)

    def _discovery_root(self, request: web.BaseRequest, *, core: bool) -> web.Response:
        registry = self._context.registry
        if negotiation.choose(request.headers.get("Accept", "")).name == "APIGroupDiscoveryList":
            body = encode(discovery.aggregated(registry, core=core))
            return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED})
        return _json(discovery.api_versions() if core else discovery.group_list(registry))

    # -- reading --------------------------------------------------------------------------------------------

    def _view(self, request: web.BaseRequest) -> negotiation.View:
        return negotiation.choose(request.headers.get("Accept", ""))

    async def _get(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        document = reads.get_object(self._context, resource, target.namespace, target.name)
        view = self._view(request)
        if view.is_table:
            metadata = {"resourceVersion": document["metadata"]["resourceVersion"]}
            return _json(self._table(request, resource, [document], metadata))
        return _json(tables.partial(document) if view.is_partial else document)

    def _table(
        self, request: web.BaseRequest, resource: Resource, documents: list[Document], metadata: Document
    ) -> Document:
        include = request.query.get("includeObject", "Metadata")
        return tables.table(resource, documents, self._context.clock(), include=include, metadata=metadata)

    async def _list_or_watch(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        query = request.query
        if "list" not in resource.verbs:
            raise errors.method_not_allowed(request.method)
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, resource, target)
        page = reads.list_objects(
            self._context,
            resource,
            target.namespace,
            reads.read_filter(resource, query.get("labelSelector", ""), query.get("fieldSelector", "")),
            limit=_integer(request, "limit"),
            continue_token=query.get("continue", ""),
            resource_version=query.get("resourceVersion", ""),
        )
        view = self._view(request)
        document = page.document(resource)
        if view.is_table:
            return _json(self._table(request, resource, page.items, document["metadata"]))
        if view.is_partial:
            items = [tables.partial(item) for item in page.items]
            document |= {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": items}
        return _json(document)

    async def _watch(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        query = request.query
        if "sendInitialEvents" in query or "resourceVersionMatch" in query:
            raise _refused_watch_option(query)
        wanted = reads.read_filter(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        include = query.get("includeObject", "Metadata")
        watch = Watch(self._context, resource, target.namespace, wanted, self._view(request), include)
        watch.start(query.get("resourceVersion", ""))
        lasts = float(_integer(request, "timeoutSeconds") or WATCH_TIMEOUT_SECONDS)
        bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        wake = self._hub.join(resource.collection)
        try:
            await self._stream(response, watch, wake, lasts, bookmarks=bookmarks)
        finally:
            self._hub.leave(resource.collection, wake)
        return response

    async def _stream(
        self,
        response: web.StreamResponse,
        watch: Watch,
        wake: asyncio.Event,
        lasts: float,
        *,
        bookmarks: bool,
    ) -> None:
        end = time.monotonic() + lasts
        while not (self.closing or watch.ended):
            wake.clear()
            lines = watch.poll()
            if lines:
                await _write(response, lines)
                continue
            left = end - time.monotonic()
            if left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), min(left, BOOKMARK_SECONDS))
                continue
            if bookmarks:
                await _write(response, watch.poll() or watch.bookmark())

    # -- writing --------------------------------------------------------------------------------------------

    async def _create(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        body = await _body(request)
        if "list" not in resource.verbs:
            return _json(subresources.review(resource, body), 201)
        if resource.namespaced and target.namespace is None:
            raise errors.method_not_allowed(request.method)
        options = _write_options(request)
        document = writes.create(self._context, resource, target.namespace, body, options)
        return self._written(request, resource, document, options, 201)

    async def _update(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        body, options = await _body(request), _write_options(request)
        document = writes.update(
            self._context, resource, target.namespace, target.name, body, options, target.subresource
        )
        return self._written(request, resource, document, options)

    async def _patch(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        media_type = request.content_type
        change, options = await _body(request), _write_options(request)
        where = (self._context, resource, target.namespace, target.name)
        if media_type == writes.APPLY_PATCH:
            if "fieldManager" not in request.query:
                problem = errors.required("fieldManager", "is required for apply patch")
                raise errors.invalid("PatchOptions.meta.k8s.io", "", [problem])
            document, created = writes.apply_patch(*where, change, options, target.subresource)
            return self._written(request, resource, document, options, 201 if created else 200)
        document = writes.patch(*where, media_type, change, options, target.subresource)
        return self._written(request, resource, document, options)

    def _written(
        self,
        request: web.BaseRequest,
        resource: Resource,
        document: Document,
        options: WriteOptions,
        status: int = 200,
    ) -> web.Response:
        view = self._view(request)
        if view.is_table:
            document = self._table(request, resource, [document], {})
        elif view.is_partial:
            document = tables.partial(document)
        return _json(document, status, options.warnings)

    async def _delete(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        options = read_delete_options(await _body(request, optional=True), dict(request.query))
        document, gone = deletion.delete(self._context, resource, target.namespace, target.name, options)
        if not gone or resource.collection == "pods":
            return _json(document)
        details = {"name": target.name, "kind": resource.plural, "uid": document["metadata"]["uid"]}
        return _json(subresources.success(details | ({"group": resource.group} if resource.group else {})))

    async def _delete_collection(
        self, request: web.BaseRequest, resource: Resource, target: Target
    ) -> web.StreamResponse:
        options = read_delete_options(await _body(request, optional=True), dict(request.query))
        query = request.query
        wanted = reads.read_filter(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        page = reads.list_objects(self._context, resource, target.namespace, wanted)
        for document in page.items:
            meta = document["metadata"]
            # An earlier delete of this loop may have taken it along.
            with contextlib.suppress(StatusError):
                deletion.delete(self._context, resource, meta.get("namespace"), meta["name"], options)
        return _json(page.document(resource))

    # -- subresources ---------------------------------------------------------------------------------------

    async def _subresource(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        where = (self._context, resource, target.namespace, target.name)
        match (target.subresource, request.method):
            case ("status", "GET"):
                return await self._get(request, resource, target)
            case ("status", "PUT"):
                return await self._update(request, resource, target)
            case ("status", "PATCH"):
                return await self._patch(request, resource, target)
            case ("scale", "GET"):
                return _json(subresources.read_scale(*where))
            case ("scale", "PUT" | "PATCH"):
                media_type = request.content_type if request.method == "PATCH" else None
                body, options = await _body(request), _write_options(request)
                return _json(subresources.write_scale(*where, body, media_type, options))
            case ("log", "GET"):
                return await self._log(request, resource, target)
            case ("binding", "POST"):
                return _json(subresources.bind_pod(*where, await _body(request)), 201)
            case ("eviction", "POST"):
                return _json(subresources.evict_pod(*where, await _body(request)), 201)
            case ("finalize", "PUT"):
                body = await _body(request)
                return _json(subresources.finalize_namespace(self._context, resource, target.name, body))
        raise errors.method_not_allowed(request.method)

    async def _log(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        pod = reads.get_object(self._context, resource, target.namespace, target.name)
        wanted = logs.read_request(pod, request.query, self._context.clock())
        if self.log_source is None:
            raise errors.unavailable("no kubelet has registered a source of logs with this server")
        chunks = self.log_source.read(
            target.namespace or "",
            target.name,
            wanted.container,
            wanted.follow,
            wanted.tail_lines,
            wanted.since_seconds,
            wanted.previous,
            wanted.timestamps,
        )
        return await _stream_log(request, chunks, wanted.limit_bytes)


async def _stream_log(
    request: web.BaseRequest, chunks: AsyncIterator[bytes], limit_bytes: int | None
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    left = limit_bytes
    try:
        # The first chunk is awaited before the header is sent, so that a missing log is still an error; a log
        # that is silent for now must not keep the client waiting for the header though.
        first = asyncio.ensure_future(anext(chunks, None))  # type: ignore[arg-type]
        await asyncio.wait({first}, timeout=0.2)
        if first.done() and isinstance(first.exception(), LookupError):
            raise errors.not_found("logs", str(first.exception()))
        await response.prepare(request)
        chunk = await first
        while chunk is not None and left != 0:
            sent = chunk if left is None else chunk[:left]
            left = None if left is None else left - len(sent)
            await _write(response, sent)
            chunk = await anext(chunks, None)
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return response


def _refused_watch_option(query: Any) -> StatusError:
    option = "sendInitialEvents" if "sendInitialEvents" in query else "resourceVersionMatch"
    detail = (
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        if option == "sendInitialEvents"
        else "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    )
    return errors.invalid("ListOptions.meta.k8s.io", "", [errors.forbidden_field(option, detail)])


async def _write(response: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(STALLED_CLIENT_SECONDS):
            await response.write(data)
    except TimeoutError as error:
        raise ConnectionResetError("the client takes no data") from error


def _json(document: Document, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    response = web.Response(body=encode(document), status=status, content_type="application/json")
    for text in warnings or ():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def _failure(error: StatusError) -> web.Response:
    response = _json(error.document(), error.code)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _integer(request: web.BaseRequest, name: str) -> int:
    text = request.query.get(name, "")
    if text and not text.isdigit():
        raise errors.bad_request(f"{name} must be a whole number, not {text!r}")
    return int(text) if text else 0


def _write_options(request: web.BaseRequest) -> WriteOptions:
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        problem = errors.not_supported("dryRun", [dry_run], ["All"])
        raise errors.invalid("PatchOptions.meta.k8s.io", "", [problem])
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Strict", "Warn"):
        problem = errors.not_supported("fieldValidation", validation, ("Ignore", "Strict", "Warn"))
        raise errors.invalid("CreateOptions.meta.k8s.io", "", [problem])
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return WriteOptions(
        field_manager=(query.get("fieldManager") or agent)[:128],
        dry_run=dry_run == "All",
        field_validation=validation,
        force=query.get("force") in ("true", "1"),
    )


async def _body(request: web.BaseRequest, *, optional: bool = False) -> Any:
    raw = await request.read()
    if not raw and optional:
        return {}
    media_type = request.content_type
    if media_type.endswith("yaml") and not raw.lstrip().startswith((b"{", b"[")):
        return _from_yaml(raw)
    if media_type == protobuf.MEDIA_TYPE:
        return _from_protobuf(raw)
    if "cbor" in media_type:
        raise errors.unsupported_media_type(_MEDIA_TYPES)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise errors.bad_request(f"the object provided is unrecognized: json parse error: {error}") from error


_MEDIA_TYPES = (negotiation.JSON, "application/yaml")


def _from_protobuf(raw: bytes) -> Document:
    try:
        return protobuf.decode(raw)
    except protobuf.ProtobufError as error:
        refusal = errors.unsupported_media_type(_MEDIA_TYPES)
        refusal.message += f" ({error})"
        raise refusal from error


def _from_yaml(raw: bytes) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML as JSON: a date stays the text it is."""

    Loader.yaml_implicit_resolvers = {
        key: [(tag, pattern) for tag, pattern in held if tag != "tag:yaml.org,2002:timestamp"]
        for key, held in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(raw, Loader)
    except yaml.YAMLError as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from error
