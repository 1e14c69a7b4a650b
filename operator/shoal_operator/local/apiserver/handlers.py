"""From HTTP to operations and back.

Invariant: a handler parses, calls one operation, and renders; it decides nothing about objects. Every path but
none is behind the token, every refusal is a metav1.Status.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from shoal_operator.local.apiserver import (
    authorization,
    deletion,
    discovery,
    errors,
    eviction,
    listoptions,
    logs,
    negotiation,
    openapi,
    ownership,
    paths,
    reads,
    requests,
    responses,
    reviews,
    subresources,
    tables,
    writes,
)
from shoal_operator.local.apiserver.authorization import Attributes, User
from shoal_operator.local.apiserver.context import Context, WriteOptions, read_delete_options
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.logs import LogSource
from shoal_operator.local.apiserver.paths import Target
from shoal_operator.local.apiserver.values import Document, encode
from shoal_operator.local.apiserver.watch import Hub, Watch

WATCH_TIMEOUT_SECONDS = 1800.0
BOOKMARK_SECONDS = 30.0
LAST_BOOKMARK_SECONDS = 2.0

logger = logging.getLogger(__name__)

_INTERACTIVE = frozenset({"attach", "exec", "portforward"})

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
            return responses.failure(error)
        except web.HTTPRequestEntityTooLarge:
            return responses.failure(errors.too_large(requests.BODY_LIMIT_BYTES))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except RecursionError:
            return responses.failure(errors.bad_request("the object provided is nested too deeply"))
        except Exception as error:
            logger.exception("cannot answer %s %s", request.method, request.path)
            return responses.failure(errors.internal(f"{type(error).__name__}: {error}"))

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
        registry = self._context.registry
        if target.group and not any(item.group == target.group for item in registry):
            return responses.nothing_here()
        resource = registry.find(target.group, target.version, target.plural)
        if resource is None or (resource.namespaced and target.name and target.namespace is None):
            raise errors.no_such_path()
        if resource.collection == "pods" and target.subresource in _INTERACTIVE:
            raise errors.not_offered(target.subresource)
        if target.subresource and target.subresource not in resource.subresources:
            raise errors.no_such_path()
        self._authorize(request, resource, target)
        if target.subresource:
            return await self._subresource(request, resource, target)
        table = self._named if target.name else self._collection
        handler = table().get(request.method)
        if handler is None:
            raise errors.method_not_allowed()
        return await handler(request, resource, target)

    def _authorize(self, request: web.BaseRequest, resource: Resource, target: Target, verb: str = "") -> None:
        """Refuse what the user may not do. Everybody may ask who they are and what they may do."""
        if "list" not in resource.verbs:
            return
        is_watch = request.query.get("watch") in ("true", "1")
        wanted = Attributes(
            verb=verb or authorization.verb_of(request.method, named=bool(target.name), watch=is_watch),
            group=resource.group,
            plural=resource.plural,
            subresource=target.subresource,
            namespace=target.namespace or (target.name or None if resource.kind == "Namespace" else None),
            name=target.name,
        )
        authorization.check(self._context.store, _user(request), wanted)

    def _collection(self) -> dict[str, Handler]:
        return {"GET": self._list_or_watch, "POST": self._create, "DELETE": self._delete_collection}

    def _named(self) -> dict[str, Handler]:
        return {"GET": self._get, "PUT": self._update, "PATCH": self._patch, "DELETE": self._delete}

    # -- paths that are no resources ------------------------------------------------------------------------

    def _non_resource(self, request: web.BaseRequest, path: str) -> web.Response:
        registry = self._context.registry
        clean = path.rstrip("/") or "/"
        if clean in ("/healthz", "/readyz", "/livez"):
            return web.Response(text="ok")
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        if clean in ("/api", "/apis"):
            return self._discovery_root(request, core=clean == "/api")
        found = openapi.answer(registry, clean) or discovery.answer(registry, clean)
        if found is None and paths.is_below_group(path, {item.group for item in registry}):
            raise errors.no_such_path()
        if found is None:
            return responses.nothing_here()
        return responses.document(found)

    def _discovery_root(self, request: web.BaseRequest, *, core: bool) -> web.Response:
        registry = self._context.registry
        if negotiation.choose(request.headers.get("Accept", "")).name == "APIGroupDiscoveryList":
            body = encode(discovery.aggregated(registry, core=core))
            return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED})
        return responses.document(discovery.api_versions() if core else discovery.group_list(registry))

    # -- reading --------------------------------------------------------------------------------------------

    def _view(self, request: web.BaseRequest) -> negotiation.View:
        return negotiation.choose(request.headers.get("Accept", ""))

    async def _get(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        reads.check_version(request.query.get("resourceVersion", ""))
        document = reads.get_object(self._context, resource, target.namespace, target.name)
        view = self._view(request)
        if view.is_table:
            metadata = {"resourceVersion": document["metadata"]["resourceVersion"]}
            return responses.document(self._table(request, resource, [document], metadata))
        return responses.document(tables.partial(document) if view.is_partial else document)

    def _table(
        self, request: web.BaseRequest, resource: Resource, documents: list[Document], metadata: Document
    ) -> Document:
        include = request.query.get("includeObject") or "Metadata"
        if include not in ("Metadata", "Object", "None"):
            detail = "must be 'Metadata', 'Object', 'None', or empty"
            problem = errors.invalid_value("includeObject", include, detail)
            raise errors.bad_request(f"Unable to convert to Table as requested: {problem.text()}")
        return tables.table(resource, documents, self._context.clock(), include=include, metadata=metadata)

    async def _list_or_watch(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        query = request.query
        if "list" not in resource.verbs:
            raise errors.method_not_allowed()
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, resource, target)
        listoptions.check_list(query)
        page = reads.list_objects(
            self._context,
            resource,
            target.namespace,
            reads.read_filter(resource, query.get("labelSelector", ""), query.get("fieldSelector", "")),
            limit=requests.integer(request, "limit"),
            continue_token=query.get("continue", ""),
            resource_version=query.get("resourceVersion", ""),
            exact=query.get("resourceVersionMatch") == "Exact",
        )
        view = self._view(request)
        document = page.document(resource)
        if view.is_table:
            metadata = {name: value for name, value in document["metadata"].items() if value}
            return responses.document(self._table(request, resource, page.items, metadata))
        if view.is_partial:
            items = [tables.partial(item) for item in page.items]
            document |= {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": items}
        return responses.document(document)

    async def _watch(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        query = request.query
        listoptions.check_watch(query)
        wanted = reads.read_filter(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        include = query.get("includeObject", "Metadata")
        watch = Watch(self._context, resource, target.namespace, wanted, self._view(request), include)
        initial = query.get("sendInitialEvents")
        watch.start(query.get("resourceVersion", ""), initial=None if initial is None else initial in ("true", "1"))
        lasts = float(requests.integer(request, "timeoutSeconds") or WATCH_TIMEOUT_SECONDS)
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
                await responses.write(response, lines)
                continue
            left = end - time.monotonic()
            if left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), min(left, BOOKMARK_SECONDS))
                continue
            # The last one comes before the end, where there is time for it; as in the real server, by two seconds.
            if bookmarks and (time.monotonic() < end or lasts > LAST_BOOKMARK_SECONDS):
                await responses.write(response, watch.poll() or watch.bookmark())

    # -- writing --------------------------------------------------------------------------------------------

    async def _create(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        body = await requests.body(request)
        if "list" not in resource.verbs:
            return responses.document(reviews.review(self._context.store, _user(request), resource, body), 201)
        if resource.namespaced and target.namespace is None:
            raise errors.method_not_allowed()
        options = requests.write_options(request)
        ownership.check_owners(self._context, _user(request), resource, target.namespace, body)
        self._view(request)  # What cannot be answered is refused before anything is made.
        document = writes.create(self._context, resource, target.namespace, body, options)
        return self._written(request, resource, document, options, 201)

    async def _update(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        body, options = await requests.body(request), requests.write_options(request)
        ownership.check_owners(self._context, _user(request), resource, target.namespace, body)
        document = writes.update(
            self._context, resource, target.namespace, target.name, body, options, target.subresource
        )
        return self._written(request, resource, document, options)

    async def _patch(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        media_type = request.content_type
        change, options = await requests.body(request), requests.write_options(request)
        where = (self._context, resource, target.namespace, target.name)
        if media_type == writes.APPLY_PATCH:
            if self._context.store.get(self._context.key(resource, target.namespace, target.name)) is None:
                self._authorize(request, resource, target, "create")
            ownership.check_owners(self._context, _user(request), resource, target.namespace, change)
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
        return responses.document(document, status, options.warnings)

    async def _delete(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        options = read_delete_options(await requests.body(request, optional=True), dict(request.query))
        document, gone = deletion.delete(self._context, resource, target.namespace, target.name, options)
        if not gone or resource.collection == "pods":
            return responses.document(document)
        details = {"name": target.name, "kind": resource.plural, "uid": document["metadata"]["uid"]}
        return responses.document(subresources.success(details | ({"group": resource.group} if resource.group else {})))

    async def _delete_collection(
        self, request: web.BaseRequest, resource: Resource, target: Target
    ) -> web.StreamResponse:
        options = read_delete_options(await requests.body(request, optional=True), dict(request.query))
        query = request.query
        wanted = reads.read_filter(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        page = reads.list_objects(self._context, resource, target.namespace, wanted)
        for document in page.items:
            meta = document["metadata"]
            # An earlier delete of this loop may have taken it along.
            with contextlib.suppress(StatusError):
                deletion.delete(self._context, resource, meta.get("namespace"), meta["name"], options)
        return responses.document(page.document(resource))

    # -- subresources ---------------------------------------------------------------------------------------

    async def _subresource(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        where = (self._context, resource, target.namespace, target.name)
        if target.subresource == "status" and request.method in ("GET", "PUT", "PATCH"):
            return await self._named()[request.method](request, resource, target)
        match (target.subresource, request.method):
            case ("scale", "GET"):
                return responses.document(subresources.read_scale(*where))
            case ("scale", "PUT" | "PATCH"):
                media_type = request.content_type if request.method == "PATCH" else None
                body, options = await requests.body(request), requests.write_options(request)
                return responses.document(subresources.write_scale(*where, body, media_type, options))
            case ("log", "GET"):
                return await self._log(request, resource, target)
            case ("binding", "POST"):
                return responses.document(subresources.bind_pod(*where, await requests.body(request)), 201)
            case ("eviction", "POST"):
                return responses.document(eviction.evict_pod(*where, await requests.body(request)), 201)
            case ("finalize", "PUT"):
                body = await requests.body(request)
                return responses.document(subresources.finalize_namespace(self._context, resource, target.name, body))
        raise errors.method_not_allowed()

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
        return await responses.stream_log(request, chunks, wanted.limit_bytes)


def _user(request: web.BaseRequest) -> User:
    headers = request.headers
    return authorization.user_of(headers.get("Impersonate-User", ""), headers.getall("Impersonate-Group", []))
