"""Create, update, patch, apply and the rules that every write keeps.

Invariant: a write is checked as a whole and stored as a whole, or refused and nothing changed. Clients cannot
set what the system owns (uid, generation, timestamps, resourceVersion); `status` changes only through /status
and everything else only without it; `generation` grows exactly when the desired state changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shoal_operator.local.apiserver import (
    admission,
    apply,
    crd,
    errors,
    metadata,
    patches,
    preparation,
    quota,
    schema,
    schemas,
    typedpatch,
    versions,
)
from shoal_operator.local.apiserver.apply import Entry, Manager
from shoal_operator.local.apiserver.context import Context, WriteOptions
from shoal_operator.local.apiserver.kinds import CRD_COLLECTION, Resource
from shoal_operator.local.apiserver.store import Key
from shoal_operator.local.apiserver.values import Document, clone, dig, encode

_SYSTEM_FIELDS = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "selfLink",
)
OBJECT_LIMIT_BYTES = 3 * 512 * 1024
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def create(context: Context, resource: Resource, namespace: str | None, body: Any, options: WriteOptions) -> Document:
    """POST. Returns the object as served; StatusError for anything that is wrong with it."""
    preparation.check_envelope(resource, body, namespace, "")
    document = versions.to_storage(resource, clone(body))
    if document["metadata"].get("resourceVersion"):
        raise errors.plain("resourceVersion should not be set on objects to be created")
    manager = Manager(options.field_manager, "Update", resource.api_version)
    document["metadata"].pop("managedFields", None)
    standing = schemas.standing(resource.kind, custom=resource.custom)

    def track(new: Document) -> None:
        entries = apply.track_update(None, new, resource.schema, (), manager, context.now(), standing)
        apply.write_entries(new, entries)

    return _insert(context, resource, namespace, document, options, track)


def _insert(
    context: Context,
    resource: Resource,
    namespace: str | None,
    document: Document,
    options: WriteOptions,
    track: Callable[[Document], None],
) -> Document:
    preparation.decode(resource, document, options)
    meta = document["metadata"]
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = f"{str(meta['generateName'])[:58]}{context.new_suffix()}"
    require_namespace(context, resource, namespace, meta.get("name", ""))
    for name in _SYSTEM_FIELDS:
        meta.pop(name, None)
    meta |= {"uid": context.new_uid(), "creationTimestamp": context.now()}
    if resource.tracks_generation:
        meta["generation"] = 1
    if "status" in resource.subresources:
        document.pop("status", None)
    preparation.set_defaults(resource, document)
    # What follows is the system's, so it is nobody's in managedFields.
    track(document)
    admission.admit(resource, document)
    preparation.validate(context, resource, document, None)
    quota.admit(context, resource, document)
    key = context.key(resource, namespace, str(meta.get("name", "")))
    if context.store.get(key) is not None:
        raise errors.already_exists(resource.group_resource, key.name)
    if not resource.custom:
        admission.initial_status(resource, document)
    if resource.collection == CRD_COLLECTION:
        meta.setdefault("finalizers", []).append(crd.CLEANUP_FINALIZER)
    if resource.collection == "services" and not options.dry_run:
        _give_address(context, document)
    _refuse_large(document)
    if not options.dry_run:
        context.store.put(key, document)
    return versions.from_storage(resource, document)


def _give_address(context: Context, service: Document) -> None:
    spec = service["spec"]
    if spec["type"] == "ExternalName" or spec.get("clusterIP") == "None":
        if spec.get("clusterIP") == "None":
            spec["clusterIPs"] = ["None"]
        return
    requested = spec.get("clusterIP")
    if requested and not str(requested).startswith("127."):
        detail = "failed to allocate IP: the embedded server gives Services addresses of 127.0.0.0/8"
        problem = errors.invalid_value("spec.clusterIPs", [requested], detail)
        raise errors.invalid("Service", service["metadata"]["name"], [problem])
    spec["clusterIP"] = requested or context.addresses.allocate()
    spec["clusterIPs"] = [spec["clusterIP"]]


def _refuse_large(document: Document) -> None:
    """The real server's store takes no object above its limit."""
    if len(encode(document)) > OBJECT_LIMIT_BYTES:
        raise errors.plain("etcdserver: request is too large")


def require_namespace(context: Context, resource: Resource, namespace: str | None, name: str) -> None:
    """Objects are made only in a namespace that exists and is not going away."""
    if not resource.namespaced:
        return
    found = context.store.get(Key("namespaces", "", namespace or ""))
    if found is None:
        raise errors.not_found("namespaces", namespace or "")
    if found["metadata"].get("deletionTimestamp"):
        detail = f"unable to create new content in namespace {namespace} because it is being terminated"
        refusal = errors.forbidden(resource.group_resource, name, detail)
        cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
        refusal.details = (refusal.details or {}) | {"causes": [cause | {"field": "metadata.namespace"}]}
        raise refusal


def update(
    context: Context,
    resource: Resource,
    namespace: str | None,
    name: str,
    body: Any,
    options: WriteOptions,
    subresource: str = "",
) -> Document:
    """PUT, of the object or of its status."""
    if isinstance(body, dict) and isinstance(body.get("metadata"), dict) and not body["metadata"].get("name"):
        text = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise errors.bad_request(text)
    preparation.check_envelope(resource, body, namespace, name)
    old = _existing(context, resource, namespace, name)
    proposed = versions.to_storage(resource, clone(body))
    version = proposed["metadata"].get("resourceVersion")
    if not version and not resource.unconditional_update:
        problem = errors.FieldError(
            "metadata.resourceVersion",
            "FieldValueInvalid",
            "Invalid value: 0: must be specified for an update",
        )
        raise errors.invalid(resource.group_resource, name, [problem])
    return _replace(context, resource, old, proposed, options, subresource)


def patch(
    context: Context,
    resource: Resource,
    namespace: str | None,
    name: str,
    media_type: str,
    change: Any,
    options: WriteOptions,
    subresource: str = "",
) -> Document:
    """PATCH by JSON patch, merge patch or strategic merge patch (see `apply_patch` for the fourth kind).

    Subresource "scale" changes the object itself and is only written down as the way by which it was changed.
    """
    old = _existing(context, resource, namespace, name)
    shown = versions.from_storage(resource, old)
    try:
        match media_type:
            case "application/json-patch+json":
                proposed = patches.json_patch(shown, change)
            case "application/merge-patch+json":
                proposed = patches.merge_patch(shown, _object_patch(change))
            case "application/strategic-merge-patch+json" if not resource.custom:
                proposed = patches.strategic_merge(shown, _object_patch(change), resource.schema)
            case _:
                taken = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
                raise errors.unsupported_media_type(taken) if resource.custom else errors.unsupported_patch()
    except patches.MalformedPatchError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error
    except patches.PatchError as error:
        if media_type == JSON_PATCH:
            text = "the server rejected our request due to an error in our request"
            raise errors.StatusError(422, "Invalid", text, {}) from error
        raise errors.plain(str(error)) from error
    preparation.check_envelope(resource, proposed, namespace, name)
    return _replace(context, resource, old, versions.to_storage(resource, proposed), options, subresource)


def _object_patch(change: Any) -> Document:
    if not isinstance(change, dict):
        words = "json: cannot unmarshal array into Go value of type map[string]interface {}"
        raise patches.MalformedPatchError(words)
    return change


def apply_patch(
    context: Context,
    resource: Resource,
    namespace: str | None,
    name: str,
    config: Any,
    options: WriteOptions,
    subresource: str = "",
) -> tuple[Document, bool]:
    """Server-side apply. Returns the object and whether it was created."""
    preparation.check_envelope(resource, config, namespace, name)
    if config["metadata"].get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    config = versions.to_storage(resource, clone(config))
    _refuse_untyped(resource, config)
    preparation.decode(resource, config, options)
    _keep_applied_part(resource, config, subresource)
    manager = Manager(options.field_manager, "Apply", resource.api_version, subresource)
    old = context.store.get(context.key(resource, namespace, name))
    if old is None and (subresource or config["metadata"].get("uid")):
        raise errors.not_found(resource.group_resource, name)
    if old is not None:
        _check_preconditions(resource, old, config["metadata"])
    merged, others, owned = apply.apply_configuration(old, config, resource.schema, manager, force=options.force)

    def finish(new: Document) -> None:
        apply.finish_apply(old, new, resource.schema, others, owned, manager, context.now())

    if old is None:
        return _insert(context, resource, namespace, merged, options, finish), True
    merged["metadata"].pop("managedFields", None)
    return _settle(context, resource, old, merged, options, subresource, finish), False


def _refuse_untyped(resource: Resource, config: Document) -> None:
    """An applied configuration has to fit the schema, whatever the client says about unknown fields."""
    content = clone(config)
    unknown = metadata.unknown_fields(content)
    unknown += schema.prune(resource.schema, content) if resource.schema else []
    found = [f".{path}: field not declared in schema" for path in unknown]
    found += typedpatch.problems(resource.schema, config)
    if found:
        kind = f"{resource.group}/{resource.version}, Kind={resource.kind}"
        listed = found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in found)
        where = f"/{config['metadata'].get('name', '')}"
        raise errors.plain(f"failed to create typed patch object ({where}; {kind}): {listed}")


def _keep_applied_part(resource: Resource, config: Document, subresource: str) -> None:
    """An applier owns only what its endpoint can change."""
    if subresource == "status":
        for name in list(config):
            if name not in ("apiVersion", "kind", "metadata", "status"):
                del config[name]
        kept = ("name", "namespace", "uid", "resourceVersion")
        config["metadata"] = {name: config["metadata"][name] for name in kept if name in config["metadata"]}
    elif "status" in resource.subresources:
        config.pop("status", None)


def _existing(context: Context, resource: Resource, namespace: str | None, name: str) -> Document:
    found = context.store.get(context.key(resource, namespace, name))
    if found is None:
        raise errors.not_found(resource.group_resource, name)
    return found


def _check_preconditions(resource: Resource, old: Document, proposed: Document) -> None:
    """A version or uid in the request must be the stored one; 409 otherwise."""
    name = old["metadata"]["name"]
    uid, held = proposed.get("uid"), old["metadata"]["uid"]
    if uid and uid != held:
        plural = f"{resource.group}/{resource.plural}" if resource.custom else resource.plural
        space = f"/{old['metadata']['namespace']}" if resource.namespaced else ""
        detail = (
            f"StorageError: invalid object, Code: 4, Key: /registry/{plural}{space}/{name}, ResourceVersion: 0, "
            f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {held}"
        )
        raise errors.conflict(resource.group_resource, name, detail)
    version = proposed.get("resourceVersion")
    if version and not str(version).isdigit():
        raise errors.plain(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    if version and str(version) != old["metadata"]["resourceVersion"]:
        raise errors.conflict(resource.group_resource, name, errors.STALE)


def _replace(
    context: Context,
    resource: Resource,
    old: Document,
    proposed: Document,
    options: WriteOptions,
    subresource: str,
) -> Document:
    """Finish an update or patch whose writer is tracked by what it changed."""
    _check_preconditions(resource, old, proposed["metadata"])
    manager = Manager(options.field_manager, "Update", resource.api_version, subresource)
    # The real server writes no time for what came through /scale.
    now = "" if subresource == "scale" else context.now()
    # A client may rewrite the bookkeeping itself (kubectl does when it moves to server-side apply).
    sent = proposed["metadata"].get("managedFields")
    rewritten = sent is not None and sent != old["metadata"].get("managedFields")
    entries: Sequence[Entry] = apply.read_entries(proposed if rewritten else old)

    def track(new: Document) -> None:
        tracked = apply.track_update(old, new, resource.schema, entries, manager, now)
        if not rewritten and tracked == list(entries):
            new["metadata"].pop("managedFields", None)
            if "managedFields" in old["metadata"]:
                new["metadata"]["managedFields"] = old["metadata"]["managedFields"]
        else:
            apply.write_entries(new, tracked)

    return _settle(context, resource, old, proposed, options, subresource, track)


def _settle(
    context: Context,
    resource: Resource,
    old: Document,
    proposed: Document,
    options: WriteOptions,
    subresource: str,
    track: Callable[[Document], None],
) -> Document:
    """The common end of every change to an existing object."""
    new = _composed(resource, old, proposed, subresource)
    preparation.prepare(context, resource, new, old, options)
    _check_finalizers(resource, old, new)
    if _desired_state(resource, old) != _desired_state(resource, new) and resource.tracks_generation:
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    if resource.collection == "services" and not options.dry_run and not dig(new, "spec", "clusterIP"):
        _give_address(context, new)
    track(new)
    if new == old:
        return versions.from_storage(resource, old)
    _refuse_large(new)
    if not options.dry_run:
        commit(context, context.key(resource, new["metadata"].get("namespace"), new["metadata"]["name"]), new)
    return versions.from_storage(resource, new)


def commit(context: Context, key: Key, new: Document) -> None:
    """Store a change; an object that was only waiting for its finalizers leaves with the last of them."""
    meta = new["metadata"]
    waiting = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds") or _namespace_waits(key, new)
    if meta.get("deletionTimestamp") and not waiting:
        context.store.remove(key)
    else:
        context.store.put(key, new)


def _namespace_waits(key: Key, document: Document) -> bool:
    return key.collection == "namespaces" and bool(dig(document, "spec", "finalizers"))


def _composed(resource: Resource, old: Document, proposed: Document, subresource: str) -> Document:
    """What of `proposed` this endpoint may change, over `old`."""
    has_status = "status" in resource.subresources
    if subresource == "status":
        new = clone({name: value for name, value in old.items() if name != "status"})
        if "status" in proposed:
            new["status"] = proposed["status"]
        return new  # type: ignore[no-any-return]
    new = dict(proposed)
    if has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = clone(old["status"])
    meta = dict(new["metadata"])
    for name in _SYSTEM_FIELDS:
        meta.pop(name, None)
        if name in old["metadata"]:
            meta[name] = old["metadata"][name]
    meta["name"] = old["metadata"]["name"]
    if resource.collection == "services":
        _keep_service_address(new, old)
    return new | {"metadata": meta}


def _keep_service_address(new: Document, old: Document) -> None:
    spec = new.get("spec")
    if isinstance(spec, dict) and spec.get("type") != "ExternalName":
        for name in ("clusterIP", "clusterIPs"):
            if not spec.get(name) and dig(old, "spec", name):
                new["spec"] = spec = {**spec, name: old["spec"][name]}


def _check_finalizers(resource: Resource, old: Document, new: Document) -> None:
    if not old["metadata"].get("deletionTimestamp"):
        return
    added = sorted(set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ()))
    if added:
        quoted = ", ".join(f'"{name}"' for name in added)
        detail = (
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{quoted}}}"
        )
        problem = errors.forbidden_field("metadata.finalizers", detail)
        raise errors.invalid(resource.qualified_kind, new["metadata"]["name"], [problem])


def _desired_state(resource: Resource, document: Document) -> Document:
    ignored = {"metadata", "apiVersion"} | ({"status"} if "status" in resource.subresources else set())
    return {name: value for name, value in document.items() if name not in ignored}
