import json

from shoal_operator.controllers.world import World
from shoal_operator.domain import labels


def pod(index):
    """As it comes from the server: parsed anew each time, so that no two share a string by themselves."""
    owner = {"kind": "ComputeCluster", "name": "a-cluster", "uid": "uid-of-the-cluster", "controller": True}
    metadata = {
        "namespace": "a-namespace",
        "name": f"a-cluster-{index}",
        "uid": f"uid-{index}",
        "resourceVersion": str(index + 1),
        "labels": {labels.CLUSTER: "a-cluster", labels.GROUP: "a-group", labels.TEMPLATE_HASH: "v1-a-hash"},
        "ownerReferences": [owner],
        "managedFields": [{"manager": "somebody", "fieldsV1": {}}],
    }
    return json.loads(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {}}))


def test_pods_that_are_alike_share_their_words():
    """Thousands of pods are kept, and each repeats the namespace, the owner, the group, and every key."""
    world = World()
    for index in range(2):
        world.pods.upsert(pod(index))
    first, second = (world.pods.get("a-namespace", f"a-cluster-{index}") for index in range(2))
    assert first["metadata"]["namespace"] is second["metadata"]["namespace"]
    assert first["view"].group == "a-group"
    assert first["view"].group is second["view"].group
    assert first["view"].template_hash is second["view"].template_hash
    assert first["view"].owner_uid is second["view"].owner_uid
    assert [*map(id, first["metadata"])] == [*map(id, second["metadata"])]


def test_a_cluster_is_kept_as_the_server_has_it_but_for_who_set_which_field():
    document = {
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "ComputeCluster",
        "metadata": {"namespace": "a", "name": "b", "uid": "c", "resourceVersion": "1", "managedFields": [{}]},
        "spec": {"workerGroups": [{"name": "workers", "minReplicas": 0, "labels": {}, "suspend": False}]},
        "status": {"conditions": [{"type": "Ready", "message": ""}], "nothing": None, "share": 0.5},
    }
    world = World()
    world.clusters.upsert(json.loads(json.dumps(document)))
    del document["metadata"]["managedFields"]
    assert world.clusters.get("a", "b") == document
