"""`shoal lint`: every problem at its line, with what was meant; nothing for manifests that are well."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoal_operator.domain.hints import misgivings
from shoal_operator.local.linting import lint

ROOT = Path(__file__).parents[2]
VERSION = "apiVersion: shoal.dev/v1alpha1\n"
GOOD = f"{VERSION}kind: ComputeJob\nmetadata:\n  name: x\nspec:\n  entrypoint: python main.py\n"
BAD = GOOD.replace("entrypoint", "entrypont").replace("name: x", "name: y")
CLUSTER = f"{VERSION}kind: ComputeCluster\nmetadata:\n  name: team\n"


def lines(**texts):
    return [str(finding) for finding in lint({f"{name}.yaml": text for name, text in texts.items()}).findings]


def test_a_good_manifest_and_those_of_others_are_passed_over():
    foreign = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n"
    report = lint({"a.yaml": f"{GOOD}---\n{foreign}", "b.yaml": CLUSTER})
    assert report.findings == ()
    assert report.objects == 2


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_well(path):
    assert lint({path.name: path.read_text()}).findings == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            GOOD.replace("entrypoint", "entrypont"),
            ["m.yaml:6: spec.entrypont: is not a field of ComputeJob: did you mean `entrypoint`?"],
        ),
        (
            f"{CLUSTER}spec:\n  workerGroups:\n    - name: a\n      resources: {{cpu: 1}}\n",
            [
                (
                    "m.yaml:8: spec.workerGroups[0].resources.cpu: is a resource of your own, "
                    "only for tasks that ask for `cpu`: did you mean `CPU`?"
                )
            ],
        ),
        (
            f"{CLUSTER}spec:\n  autoscaling:\n    limits:\n      maxWorkers: 4\n      resources: {{cpu: 8}}\n",
            [
                (
                    "m.yaml:9: spec.autoscaling.limits.resources.cpu: is a resource of your own, "
                    "only for tasks that ask for `cpu`: did you mean `CPU`?"
                )
            ],
        ),
        (
            (
                f"{CLUSTER}spec:\n  autoscaling: {{limits: {{maxWorkers: 1}}}}\n"
                "  workerGroups: [{name: a, minReplicas: 2}]\n"
            ),
            [
                (
                    "m.yaml:6: spec.autoscaling.limits.maxWorkers: must not be less than the 2 workers that group `a` "
                    "has at least, is 1: raise it, or lower minReplicas of group `a`"
                )
            ],
        ),
        (
            f"{CLUSTER}spec:\n  head:\n    resources:\n      nvidia.com/gpu: 1\n",
            [
                (
                    "m.yaml:8: spec.head.resources.nvidia.com/gpu: is a resource of your own, "
                    "only for tasks that ask for `nvidia.com/gpu`: did you mean `GPU`?"
                )
            ],
        ),
        (
            f"{CLUSTER}spec:\n  head:\n    resources:\n      google.com/tpu: 4\n      TPU: 4\n",
            [
                (
                    "m.yaml:8: spec.head.resources.google.com/tpu: is a resource of your own, "
                    "only for tasks that ask for `google.com/tpu`: did you mean `TPU`?"
                )
            ],
        ),
        (f"{CLUSTER}spec:\n  workerGroups: [{{name: a, maxReplicas: null}}]\n", []),
        (f"{CLUSTER}spec:\n  workerGroups: [{{name: null}}]\n", ["m.yaml:6: spec.workerGroups[0].name: is required"]),
        (
            CLUSTER.replace("ComputeCluster", "ComputeService"),
            ["m.yaml:2: kind: is kept, and nothing runs it yet: this release runs ComputeCluster and ComputeJob"],
        ),
        (
            f"{CLUSTER}spec:\n  workerGroups:\n    - name: a\n      minReplicas: 5\n      maxReplicas: 2\n",
            [
                (
                    "m.yaml:8: spec.workerGroups[0].minReplicas: must be less than or equal to maxReplicas (2), is 5: "
                    "lower minReplicas or raise maxReplicas"
                )
            ],
        ),
        (
            f"{CLUSTER}spec:\n  head:\n    template:\n      spec:\n        containers:\n          - name: ray-head\n",
            [
                (
                    "m.yaml:10: spec.head.template.spec.containers[0].name: is `ray-head`, so that it runs beside the "
                    "runtime, in a container of its own: did you mean `shoal`?"
                )
            ],
        ),
        (
            CLUSTER.replace("shoal.dev/v1alpha1", "shoal.io/v1"),
            [
                (
                    "m.yaml:1: apiVersion: is 'shoal.io/v1', so that this is no ComputeCluster of Shoal: "
                    "did you mean `shoal.dev/v1alpha1`?"
                )
            ],
        ),
    ],
    ids=[
        *("field", "resource", "limited resource", "limit", "accelerator", "TPU"),
        *("null", "null where something has to be", "service", "meaning", "container", "group"),
    ],
)
def test_a_problem_is_one_line_at_its_place(text, found):
    assert lines(m=text) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("n" * 63, []),
        ("n" * 64, ["m.yaml:4: metadata.name: must have at most 63 characters, has 64: choose a shorter name"]),
        ("Gro\u00df_1", ["m.yaml:4: metadata.name: must not be 'Gro\u00df_1': "]),
        ('"12"', ["m.yaml:4: metadata.name: must not be '12': "]),
        ('""', ["m.yaml:"]),
    ],
)
def test_names_that_the_api_server_refuses_are_told(name, found):
    told = lines(m=CLUSTER.replace("team", name))
    assert len(told) == len(found)
    assert all(line.startswith(start) for line, start in zip(told, found, strict=True))


@pytest.mark.parametrize(
    ("version", "kind", "place"),
    [
        ("v1", "RayCluster", "write a ComputeCluster"),
        ("v1alpha1", "RayJob", "write a ComputeJob"),
        ("v1", "RayService", "its place is for ComputeService, which nothing runs yet"),
        ("v1", "RayCronJob", "write a CronJob of Kubernetes that creates ComputeJobs"),
        ("v1", "RayWhatever", "there is no kind like it here"),
    ],
)
def test_kinds_of_kuberay_are_told_with_what_takes_their_place(version, kind, place):
    text = f"apiVersion: ray.io/{version}\nkind: {kind}\nmetadata: {{name: x}}\n"
    assert lines(m=text) == [
        f"m.yaml:2: kind: is {kind}, a kind of KubeRay that Shoal does not run: {place}; see docs/kuberay.md"
    ]
    assert lines(m=text.replace("ray.io", "array.io")) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [("rayClusterSpec: {}", "clusterSpec"), ("shutdownAfterJobFinishes: true", "cleanupPolicy")],
)
def test_names_of_kuberay_are_told_with_the_nearest_here(written, meant):
    [line] = lines(m=f"{GOOD}  {written}\n")
    assert line.endswith(f"the nearest here is `{meant}`; see docs/kuberay.md")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            '{workerGroups: [{name: a, maxReplicas: "3"}]}',
            [('spec.workerGroups[0].maxReplicas: must be a whole number, is the string "3": write it without quotes')],
        ),
        (
            '{suspend: "true"}',
            ['spec.suspend: must be true or false, is the string "true": write `true` or `false`, without quotes'],
        ),
        (
            '{autoscaling: {enabled: "yes"}}',
            [
                (
                    'spec.autoscaling.enabled: must be true or false, is the string "yes": '
                    "write `true` or `false`, without quotes"
                )
            ],
        ),
        (
            "{workerGroups: [{name: a, priority: 1.5}]}",
            ["spec.workerGroups[0].priority: must be a whole number, is 1.5"],
        ),
        ("{suspend: 1}", ["spec.suspend: must be true or false, is 1"]),
        ('{workerGroups: [{name: a, maxReplicas: 3.0, resources: {CPU: "2", memory: 4Gi}}]}', []),
        ('{updateStrategy: {maxSurge: "25%", maxUnavailable: 1}, suspend: yes}', []),
        (
            "{workerGroups: [{name: a, maxReplicas: 99999999.0}]}",
            ["spec.workerGroups[0].maxReplicas: must be less than"],
        ),
    ],
)
def test_types_are_judged_as_the_api_server_judges_them(spec, said):
    """A number in quotes is a string, whatever the operator itself would make of it."""
    found = lines(m=f"{CLUSTER}spec: {spec}\n")
    assert len(found) == len(said)
    assert all(line.startswith(f"m.yaml:5: {start}") for line, start in zip(found, said, strict=True))


def test_a_wrong_quantity_is_told_with_one_hint():
    [line] = lines(m=f"{CLUSTER}spec: {{head: {{resources: {{CPU: lots}}}}}}\n")
    assert line.count("4Gi") == 1


def test_a_command_of_the_runtime_is_told_to_be_replaced_and_one_of_a_sidecar_is_not():
    containers = [
        {"name": "side", "command": ["true"], "args": ["x"]},
        {"name": "shoal", "command": ["bash", "-c"], "args": ["pip install x && shoal start"]},
    ]
    template = json.dumps({"spec": {"initContainers": [{"name": "i", "command": ["true"]}], "containers": containers}})
    found = lines(m=f"{CLUSTER}spec: {{head: {{template: {template}}}}}\n")
    assert found == [
        f"m.yaml:5: spec.head.template.spec.containers[1].{key}: is replaced by the operator's own, and an entrypoint "
        "of the image is not run: prepare the pod in an init container, the program in the job's `entrypoint`"
        for key in ("command", "args")
    ]


def test_a_fault_hides_no_other_one():
    faults = "name: a, minReplicas: -1, resources: {CPU: -1, cpu: 2, nvidia.com/gpu: x}"
    template = "template: {spec: {tolerationz: [], containers: [{name: shoal, command: [x]}]}}"
    second = 'name: b, minReplicas: 20, maxReplicas: "30"'
    found = lines(m=f"{CLUSTER}spec: {{suspendd: true, workerGroups: [{{{faults}, {template}}}, {{{second}}}]}}\n")
    group = "m.yaml:5: spec.workerGroups[0]"
    starts = [
        "m.yaml:5: spec.suspendd: is not a field",
        f"{group}.minReplicas: must be greater",
        f"{group}.resources.CPU: is wrong",
        f"{group}.resources.cpu: is a resource of your own",
        f"{group}.resources.nvidia.com/gpu: is wrong",
        f"{group}.template.spec.tolerationz: is not",
        f"{group}.template.spec.containers[0].command: is replaced",
        "m.yaml:5: spec.workerGroups[1].maxReplicas: must be a whole number",
    ]
    assert [line for line in found if not any(line.startswith(start) for start in starts)] == []
    assert [start for start in starts if not any(line.startswith(start) for line in found)] == []


def test_a_fault_makes_no_others():
    """What the checks say of several fields together waits until each of them can be read."""
    groups = '{name: a, minReplicas: 20, maxReplicas: "30"}, 5'
    assert len(lines(m=f"{CLUSTER}spec: {{workerGroups: [{groups}]}}\n")) == 2
    state = "{backend: Redisss, redis: {url: 'redis://cache'}}"
    assert len(lines(m=f"{CLUSTER}spec: {{state: {state}}}\n")) == 1


@pytest.mark.parametrize(
    "template",
    [
        {"spec": {"containers": ["shoal"]}},
        {"spec": {"containers": [5, {"name": "shoal"}]}},
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": [{"name": "shoal", "resources": ["cpu"]}]}},
        {"spec": {"containers": {"name": "shoal"}}, "metadata": []},
        {"spec": {"initContainers": 5, "containers": [{"name": "shoal", "env": {"A": "1"}}]}},
        {"spec": {"volumes": [1]}},
        5,
    ],
)
def test_a_broken_template_is_found_and_breaks_nothing(template):
    text = f"{CLUSTER}spec: {{suspend: 1, workerGroups: [{{name: a, template: {json.dumps(template)}}}]}}\n"
    assert len(lines(m=text)) >= 2
    assert len(lines(m=text.replace("suspend: 1, ", ""))) >= 1


def test_documents_are_counted_from_the_start_of_the_file():
    [line] = lines(m=f"{GOOD}---\n{BAD}")
    assert line.startswith("m.yaml:13: spec.entrypont: ")


def test_a_text_that_is_no_manifest_is_told_beside_the_others():
    found = lines(broken="a: [1\n", good=GOOD, bad=BAD, empty="")
    assert [line.partition(": ")[0] for line in found] == ["bad.yaml:6", "broken.yaml:2", "empty.yaml:1"]


def test_the_same_object_twice_is_told_with_the_first_place():
    assert lines(a=GOOD, b=GOOD) == [
        "b.yaml:4: metadata.name: is the name of another ComputeJob, at a.yaml:4: rename one of them"
    ]


@pytest.mark.parametrize(
    ("name", "namespace", "hint"),
    [
        ("team", "", None),
        ("taem", "", "did you mean `team`?"),
        ("other", "", None),
        ("team", "ml", "put the job into namespace `default`"),
    ],
)
def test_a_reference_to_a_cluster_of_the_same_files_is_looked_up(name, namespace, hint):
    """What is not in the files may be in the cluster: only what is nearly there is a hint."""
    job = {"apiVersion": VERSION.split()[1], "kind": "ComputeJob", "metadata": {"name": "x", "namespace": namespace}}
    job["spec"] = {"entrypoint": "true", "clusterRef": {"name": name}}
    found = [problem.hint for problem in misgivings(job, [("", "team")])]
    assert found == ([] if hint is None else [hint])


def run(*arguments, text=""):
    command = [sys.executable, "-m", "shoal.cli.main", "lint", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)


def test_the_command(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    done = run(good)
    assert (done.returncode, done.stdout) == (0, "")
    done = run(good, bad)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{bad}:6: spec.entrypont: ")
    assert done.stderr == "2 object(s), 1 problem(s)\n"
    done = run("--format", "json", "-", text=bad.read_text())
    assert done.returncode == 1
    first = json.loads(done.stdout)[0]
    assert first == {
        "file": "<stdin>",
        "line": 6,
        "column": 3,
        "path": "spec.entrypont",
        "message": "is not a field of ComputeJob",
        "hint": "did you mean `entrypoint`?",
    }
    done = run("-", text="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
    assert (done.returncode, done.stderr) == (0, "0 object(s) (1 of other kinds passed over), 0 problem(s)\n")
    done = run(tmp_path / "nothing.yaml")
    assert done.returncode == 2
    assert "cannot read" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_without_a_command_shows_its_help_and_calls_it_no_error():
    command = [sys.executable, "-m", "shoal.cli.main"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    text = done.stdout + done.stderr  # click before 8.2 writes it to stdout and ends with 0
    assert text.startswith("Usage: ")
    assert "error:" not in text


def test_pod_templates_are_looked_into():
    template = {
        "spec": {
            "tolerationz": [],
            "containers": [
                {"name": "shoal", "imagePullPolicie": "Never"},
                {"name": "side", "resources": {"requests": {"cpu": "lots", "memory": "1Gi"}}},
            ],
        }
    }
    cluster = f"{CLUSTER}spec:\n  workerGroups:\n    - name: a\n      template: {json.dumps(template)}\n"
    where = "m.yaml:8: spec.workerGroups[0].template.spec"
    assert sorted(lines(m=cluster)) == sorted(
        [
            f"{where}.tolerationz: is not a field of a pod template: did you mean `tolerations`?",
            (
                f"{where}.containers[0].imagePullPolicie: is not a field of a pod template: "
                "did you mean `imagePullPolicy`?"
            ),
            (
                f"{where}.containers[1].resources.requests.cpu: is `lots`, which is no quantity: "
                "write a number such as 2, 500m or 4Gi"
            ),
        ]
    )
