"""What a fault is, and the parts of manifests that faults are made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from e2e import manifests
from e2e.manifests import Manifest

NAME: Final = "broken"
HEAD: Final = f"{NAME}-head"
WORKER: Final = f"{NAME}-small-0"
NO_REGISTRY: Final = "localhost:1/none:1"
"""Nothing listens there, on no node."""
EVERYWHERE: Final = frozenset({"local", "bare", "kind"})
REAL: Final = frozenset({"bare", "kind"})


@dataclass(frozen=True)
class Fault:
    """One way to break a cluster.

    Attributes:
        reason: the word in the conditions, in ``status.reason`` and in the Event.
        words: what the message quotes.
        sign: what the pod's own status says then; empty where it says nothing, or there is no pod.
        head: pod spec of the head's template.
        worker: pod spec of a worker group's template; a worker is then wanted at least.
        spec: further fields of the cluster's spec.
        before: objects that are there before; removed with the repair.
        missing: objects whose absence is the fault; applied as the repair.
        places: the providers on which the fault means something.
        condition: the specific one.
    """

    name: str
    reason: str
    words: str
    sign: str = ""
    head: Mapping[str, Any] = field(default_factory=dict)
    worker: Mapping[str, Any] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Manifest, ...] = ()
    missing: tuple[Manifest, ...] = ()
    places: frozenset[str] = EVERYWHERE

    @property
    def condition(self) -> str:
        """The specific condition."""
        return "HeadReady" if self.worker is None else "WorkersReady"

    @property
    def pod(self) -> str:
        """Name of the pod that does not run."""
        return HEAD if self.worker is None else WORKER

    def cluster(self, image: str) -> Manifest:
        """The broken cluster."""
        spec = _spec(image, self.head, {} if self.worker is None else self.worker, wants_worker=self.worker is not None)
        return manifests.cluster(NAME, {**spec, **self.spec})

    def repaired(self, image: str) -> Manifest:
        """The same without the fault in it (the spec stays when something was missing, or in the way)."""
        if self.before or self.missing:
            return self.cluster(image)
        return manifests.cluster(NAME, _spec(image, {}, {}, wants_worker=self.worker is not None))


def _spec(image: str, head: Mapping[str, Any], worker: Mapping[str, Any], *, wants_worker: bool) -> Manifest:
    group = manifests.group(template=manifests.template(**worker), minReplicas=int(wants_worker))
    return manifests.cluster_spec(image, (group,), head={"template": manifests.template(**head)})


def runtime(**fields: Any) -> dict[str, Any]:
    """A pod spec whose container ``shoal`` has some fields."""
    return {"containers": [{"name": "shoal", **fields}]}


def volume(source: Manifest) -> dict[str, Any]:
    """A pod spec with a volume, mounted at /extra."""
    mount = runtime(volumeMounts=[{"name": "extra", "mountPath": "/extra"}])
    return {**mount, "volumes": [{"name": "extra", **source}]}


def named(kind: str, name: str, api_version: str = "v1", **fields: Any) -> Manifest:
    """An object of a kind."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def init(image: str, program: str) -> dict[str, Any]:
    """A pod spec with an init container ``first`` that runs a Python program."""
    command = ["python", "-c", program]
    first = {"name": "first", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
    return {"initContainers": [first]}


def asks(**resources: Any) -> dict[str, Any]:
    """A container that asks for resources."""
    return {"resources": {"limits": {name: str(amount) for name, amount in resources.items()}}}
