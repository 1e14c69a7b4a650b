"""What crosses the borders of pods: calls of actors, and large objects."""

from __future__ import annotations

from e2e.world import World

ACTORS = """
    import os
    import shoal

    @shoal.remote(num_cpus=1)
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self, number):
            self.count += number
            return self.count

        def pod(self):
            return os.environ["POD_NAME"]

    @shoal.remote(num_cpus=1)
    def add_from_elsewhere(counter):
        for number in range(10):
            last = counter.add.remote(number)
        return shoal.get(last), os.environ["POD_NAME"]

    counter = Counter.remote()
    home = shoal.get(counter.pod.remote())
    count, elsewhere = shoal.get(add_from_elsewhere.remote(counter))
    assert home != elsewhere, (home, elsewhere)
    assert "head" not in home + elsewhere
    print("counted", count, "and", shoal.get(counter.add.remote(5)), "in two pods", flush=True)
"""

LARGE_OBJECT = """
    import hashlib, os, random
    import shoal

    SIZE = 50_000_000

    @shoal.remote(num_cpus=1)
    class Store:
        def __init__(self):
            self.data = random.Random(7).randbytes(SIZE)

        def give(self):
            return self.data

        def pod(self):
            return os.environ["POD_NAME"]

    @shoal.remote(num_cpus=1)
    def digest(data):
        return len(data), hashlib.sha256(data).hexdigest(), os.environ["POD_NAME"]

    store = Store.remote()
    home = shoal.get(store.pod.remote())
    large = store.give.remote()
    size, found, elsewhere = shoal.get(digest.remote(large))
    assert home != elsewhere, (home, elsewhere)
    expected = hashlib.sha256(random.Random(7).randbytes(SIZE)).hexdigest()
    assert found == expected, (found, expected)
    assert hashlib.sha256(shoal.get(large)).hexdigest() == expected
    print("moved", size, "bytes between pods", flush=True)
"""


def test_an_actor_is_called_from_another_pod(world: World) -> None:
    world.start_job(ACTORS)
    assert "counted 45 and 50 in two pods" in world.finish()["status"]["outputTail"]
    assert world.pods.names() == ["job-head", "job-small-0", "job-small-1"]


def test_an_object_of_50_mb_crosses_pods(world: World) -> None:
    world.start_job(LARGE_OBJECT)
    assert "moved 50000000 bytes between pods" in world.finish()["status"]["outputTail"]
