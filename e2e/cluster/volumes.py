"""Volumes for claims: directories of the run, as PersistentVolumes of the cluster's default StorageClass.

Invariant: a volume is used once (it is retained when its claim goes), and goes with the run's directory.
"""

from __future__ import annotations

from pathlib import Path

from e2e.cluster.control_plane import ControlPlane

STORAGE_CLASS = "directories"
VOLUMES = 16
"""More than the scenarios of one run claim."""


def provide(plane: ControlPlane, node: str, folder: Path, count: int = VOLUMES) -> None:
    """Make `count` volumes on the node of that name, below `folder`."""
    folder.mkdir()
    for index in range(count):
        path = folder / str(index)
        path.mkdir()
        path.chmod(0o777)  # kubelets change the owner of no hostPath, and pods run as users without a name
    plane.apply(_storage_class(), *(_volume(index, node, folder / str(index)) for index in range(count)))


def _storage_class() -> dict[str, object]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }


def _volume(index: int, node: str, path: Path) -> dict[str, object]:
    only_there = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"directory-{index}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "hostPath": {"path": str(path), "type": "Directory"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [only_there]}]}},
        },
    }
