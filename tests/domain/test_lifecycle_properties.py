"""Any sequence of edits and losses ends in a cluster at rest that is as its spec says, and says so."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shoal_operator.domain.cluster.rollout import resolve
from shoal_operator.domain.head import DrainState

MakeWorld = Callable[..., Any]
SIZES = {"a": 3, "b": 2, "c-d": 1, "slices": 2}
HOSTS = {"slices": 3}

groups = st.lists(st.sampled_from(list(SIZES)), unique=True, max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("groups"), groups),
        st.tuples(st.just("disk"), st.sampled_from(["x", "y", "z"])),
        st.tuples(st.just("head"), st.sampled_from(["x", "y"])),
        st.tuples(st.just("resize"), st.integers(0, 3)),
        st.tuples(st.just("suspend"), st.booleans()),
        st.tuples(st.just("rest"), st.sampled_from(list(SIZES))),
        st.tuples(st.just("lose"), st.integers(0, 20)),
        st.tuples(st.just("fail"), st.integers(0, 20)),
        st.tuples(st.just("stick"), st.integers(0, 20)),
        st.tuples(st.just("idle"), st.integers(0, 20)),
        st.tuples(st.just("forget"), st.none()),
        st.tuples(st.just("head away"), st.none()),
        st.tuples(st.just("pass"), st.integers(1, 4)),
        st.tuples(st.just("start"), st.none()),
    ),
    max_size=14,
)


class Story:
    """A world, what its spec says, and the bounds that hold in every pass."""

    def __init__(self, world: Any, strategy: dict[str, Any], *, keeps_state: bool) -> None:
        self.world = world
        self.strategy = strategy
        self.names: list[str] = ["a", "slices"]
        self.disk, self.head_disk, self.extra = "x", "x", 0
        self.resting: set[str] = set()
        self.suspended = False
        self.keeps_state = keeps_state
        self.write()

    def write(self) -> None:
        """The spec as it shall be."""
        template = {"spec": {"nodeSelector": {"disk": self.disk}}}
        self.world.spec = {
            "workerGroups": [
                {
                    "name": name,
                    "replicas": SIZES[name] + self.extra,
                    "maxReplicas": 9,
                    "hostsPerReplica": HOSTS.get(name, 1),
                    "suspend": name in self.resting,
                    "template": copy.deepcopy(template),
                }
                for name in self.names
            ],
            "autoscaling": {"enabled": False},
            "head": {"template": {"spec": {"nodeSelector": {"disk": self.head_disk}}}},
            "updateStrategy": self.strategy,
            "state": {"backend": "PersistentVolume" if self.keeps_state else "Memory"},
            "suspend": self.suspended,
        }

    def victim(self, number: int) -> str | None:
        names = sorted(self.world.pods)
        return names[number % len(names)] if names else None

    def take(self, step: tuple[str, Any]) -> None:
        """One thing that happens."""
        kind, value = step
        name = self.victim(value) if kind in ("lose", "fail", "stick", "idle") else ""
        if name is not None:
            {**self.edits(value), **self.accidents(name, value)}[kind]()
        self.write()

    def edits(self, value: Any) -> dict[str, Callable[[], Any]]:
        """What people do to the spec."""
        return {
            "groups": lambda: setattr(self, "names", value),
            "disk": lambda: setattr(self, "disk", value),
            "head": lambda: setattr(self, "head_disk", value),
            "resize": lambda: setattr(self, "extra", value),
            "suspend": lambda: setattr(self, "suspended", value),
            "rest": lambda: self.resting.symmetric_difference_update({value}),
        }

    def accidents(self, name: str, value: Any) -> dict[str, Callable[[], Any]]:
        """What happens to pods, the head and the operator."""
        world = self.world
        is_pending = name in world.pods and world.pods[name]["status"]["phase"] == "Pending"
        return {
            "forget": lambda: setattr(world, "status", {}),
            "head away": lambda: setattr(world, "head_answers", False),
            "start": self.start,
            "lose": lambda: world.lose_pod(name),
            "fail": lambda: world.end_pod(name),
            "stick": lambda: is_pending and world.hold_up_pod(name, "ErrImagePull", "no such image"),
            "idle": lambda: name in world.nodes and world.idle(name, 3),
            "pass": lambda: [self.reconcile() for _ in range(value)],
        }

    def start(self) -> None:
        """Pods start and join, if there is a head to join; drains end."""
        if "demo-head" in self.world.pods:
            self.world.start_pods()
        for name, node in list(self.world.nodes.items()):
            if node.drain_state is DrainState.DRAINING:
                self.world.finish(name)

    def reconcile(self) -> Any:
        plan = self.world.reconcile()
        created = [pod["metadata"]["labels"]["shoal.dev/group"] for pod in plan.create_pods]
        metadata = [pod["metadata"] for pod in self.world.pods.values()]
        staying = [meta for meta in metadata if "shoal.dev/drain" not in (meta.get("annotations") or {})]
        there = Counter(meta["labels"]["shoal.dev/group"] for meta in staying)
        for name in set(created) - {"head"}:
            wanted = (SIZES[name] + self.extra) * HOSTS.get(name, 1)
            surge = resolve(self.strategy.get("maxSurge", 1), SIZES[name] + self.extra, up=True) * HOSTS.get(name, 1)
            assert there[name] <= wanted + surge, f"more of {name} than a group and its surge"
        return plan

    def end(self, most: int = 300) -> None:
        """Nothing happens any more but time."""
        for turn in range(most):
            plan = self.reconcile()
            before = copy.deepcopy((self.world.pods, self.world.nodes))
            if turn % 3 == 0:  # pods take longer to start than the operator to look again
                self.start()
            self.world.wait(31)
            for name in list(self.world.nodes):
                self.world.idle(name, 3)
            if plan.is_empty and before[0] == self.world.pods and self.is_settled():
                return
        raise AssertionError(f"does not come to rest: {self.world.status.get('conditions')}")

    def is_settled(self) -> bool:
        if self.suspended:
            return not self.world.pods
        wanted = {"head": 1} | {
            name: (SIZES[name] + self.extra) * HOSTS.get(name, 1) for name in self.names if name not in self.resting
        }
        there = Counter(pod["metadata"]["labels"]["shoal.dev/group"] for pod in self.world.pods.values())
        disks = {pod["spec"]["nodeSelector"]["disk"] for name, pod in self.world.pods.items() if name != "demo-head"}
        head = self.world.pods.get("demo-head")
        is_new = disks <= {self.disk} and head is not None and head["spec"]["nodeSelector"]["disk"] == self.head_disk
        return dict(there) == wanted and is_new and self.world.condition("UpToDate")["status"] == "True"


@settings(max_examples=80, deadline=None)
@example(
    story=[("resize", 1), ("pass", 1), ("start", None), ("disk", "y")],
    strategy={"type": "Recreate"},
    keeps_state=False,
)
@given(
    story=steps,
    strategy=st.sampled_from(
        [{}, {"maxSurge": 2}, {"maxSurge": 0, "maxUnavailable": 1}, {"maxUnavailable": "50%"}, {"type": "Recreate"}]
    ),
    keeps_state=st.booleans(),
)
def test_every_story_ends_at_rest(
    cluster_world: MakeWorld, story: list[tuple[str, Any]], strategy: dict[str, Any], keeps_state: bool
) -> None:
    told = Story(cluster_world(), strategy, keeps_state=keeps_state)
    told.end()
    for step in story:
        told.take(step)
    told.end()
    told.world.wait(3600)
    for name in list(told.world.nodes):
        told.world.idle(name, 3)
    assert told.world.reconcile().is_empty, "at rest nothing more is done, however long it lasts"
    status = copy.deepcopy(told.world.status)
    told.world.reconcile()
    assert told.world.status == status
