"""Built-in kinds: defaults, validation, subresources."""

from __future__ import annotations

from typing import Any

from e2e.fidelity.script.objects import PODS, pod, thing
from e2e.fidelity.steps import MERGE, STRATEGIC, Scenario, Step, delete, get, patch, post, put

_P = f"{PODS}/a"
_FULL: dict[str, Any] = {
    "containers": [
        {
            "name": "main",
            "image": "example.com/image",
            "command": ["run"],
            "ports": [{"containerPort": 80}],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"port": 80}},
            "livenessProbe": {"tcpSocket": {"port": 80}},
            "volumeMounts": [{"name": "config", "mountPath": "/config"}],
        }
    ],
    "initContainers": [{"name": "init", "image": "example.com/init@sha256:" + "a" * 64}],
    "volumes": [
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "empty"},
        {"name": "s", "secret": {"secretName": "s"}},
    ],
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "securityContext": {"runAsNonRoot": True},
}


def _container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "i"} | fields]}


_BAD_PODS: dict[str, dict[str, Any]] = {
    "no-containers": {"containers": []},
    "no-image": {"containers": [{"name": "main"}]},
    "no-container-name": {"containers": [{"image": "i"}]},
    "bad-container-name": {"containers": [{"name": "Main_1", "image": "i"}]},
    "same-container-names": {"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]},
    "bad-policy": {"restartPolicy": "Sometimes"},
    "negative-grace": {"terminationGracePeriodSeconds": -1},
    "unknown-volume": _container(volumeMounts=[{"name": "none", "mountPath": "/x"}]),
    "no-mount-path": _container(volumeMounts=[{"name": "v"}]) | {"volumes": [{"name": "v", "emptyDir": {}}]},
    "bad-port": _container(ports=[{"containerPort": 70000}]),
    "bad-env-name": _container(env=[{"name": "a=b"}]),
    "env-both": _container(
        env=[{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    ),
    "bad-quantity": _container(resources={"limits": {"cpu": "lots"}}),
    "request-above-limit": _container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
    "bad-pull-policy": _container(imagePullPolicy="Maybe"),
    "bad-probe": _container(readinessProbe={}),
    "two-handlers": _container(readinessProbe={"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}),
    "same-volumes": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]},
    "two-sources": {"volumes": [{"name": "v", "emptyDir": {}, "configMap": {"name": "c"}}]},
    "bad-toleration": {"tolerations": [{"key": "a", "operator": "Like"}]},
    "containers-not-list": {"containers": {}},
    "image-not-text": {"containers": [{"name": "main", "image": 1}]},
    "bad-node-selector": {"nodeSelector": {"a b": "c"}},
    "bad-deadline": {"activeDeadlineSeconds": 0},
    "bad-host-alias": {"dnsPolicy": "Nonsense"},
}

_BINDING = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
_EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}

POD_SPECS = Scenario(
    "pods",
    (
        post("minimal", PODS, pod()),
        post("full", PODS, pod("full", **_FULL)),
        *(
            post(
                name,
                PODS,
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "{step}"}, "spec": pod(**spec)["spec"]},
            )
            for name, spec in _BAD_PODS.items()
        ),
        post(
            "unknown-strict",
            f"{PODS}?fieldValidation=Strict",
            pod(
                "{step}",
                containers=[{"name": "main", "image": "i", "comand": ["x"], "env": [{"name": "A", "valeu": "1"}]}],
                hostNam="x",
            ),
        ),
        post("status-dropped", PODS, pod("status") | {"status": {"phase": "Running"}}, keep="status"),
    ),
)

POD_LIFE = Scenario(
    "pod-life",
    (
        post("create", PODS, pod(), keep="metadata.generation,status"),
        get("log-unbound", f"{_P}/log"),
        patch(
            "change-image",
            _P,
            STRATEGIC,
            {"spec": {"containers": [{"name": "main", "image": "example.com/image:2"}]}},
            keep="metadata.generation,spec.containers.0.image",
        ),
        patch(
            "change-command",
            _P,
            STRATEGIC,
            {"spec": {"containers": [{"name": "main", "command": ["x"]}]}},
            keep="reason,details",
        ),
        patch("change-deadline", _P, MERGE, {"spec": {"activeDeadlineSeconds": 60}}, keep="spec.activeDeadlineSeconds"),
        patch("status-by-main", _P, MERGE, {"status": {"phase": "Running"}}, keep="status.phase"),
        patch(
            "spec-by-status",
            f"{_P}/status",
            MERGE,
            {"spec": {"activeDeadlineSeconds": 5}},
            keep="spec.activeDeadlineSeconds",
        ),
        patch(
            "status", f"{_P}/status", MERGE, {"status": {"phase": "Running"}}, keep="metadata.generation,status.phase"
        ),
        post("bind", f"{_P}/binding", _BINDING),
        post("bind-again", f"{_P}/binding", _BINDING),
        post("bind-nowhere", f"{PODS}/missing/binding", _BINDING | {"metadata": {"name": "missing"}}),
        get("bound", _P, keep="spec.nodeName,status.conditions"),
        delete("graceful", _P, keep="metadata.deletionGracePeriodSeconds,metadata.generation,kind"),
        delete("shorter", _P, {"gracePeriodSeconds": 5}, keep="metadata.deletionGracePeriodSeconds"),
        delete("longer", _P, {"gracePeriodSeconds": 50}, keep="metadata.deletionGracePeriodSeconds"),
        delete("now", _P, {"gracePeriodSeconds": 0}, keep="metadata.deletionGracePeriodSeconds,kind"),
        get("gone", _P),
        post("second", PODS, pod(), keep="-"),
        post("evict", f"{_P}/eviction", _EVICTION),
        post("evict-missing", f"{PODS}/missing/eviction", _EVICTION | {"metadata": {"name": "missing"}}),
        get("evicted", _P),
    ),
)

_BUDGETS = "/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
_BUDGET = thing("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}})
_READY = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}

EVICTION = Scenario(
    "eviction",
    (
        post("pod", PODS, pod(nodeName="n1"), keep="-"),
        patch("ready", f"{_P}/status", MERGE, _READY, keep="-"),
        post("budget", _BUDGETS, _BUDGET, keep="spec,status"),
        post("unobserved", f"{_P}/eviction", _EVICTION),
        patch(
            "none-allowed",
            f"{_BUDGETS}/a/status",
            MERGE,
            {
                "status": {
                    "observedGeneration": 1,
                    "disruptionsAllowed": 0,
                    "currentHealthy": 1,
                    "desiredHealthy": 1,
                    "expectedPods": 1,
                }
            },
            keep="status",
        ),
        post("refused", f"{_P}/eviction", _EVICTION),
        patch("one-allowed", f"{_BUDGETS}/a/status", MERGE, {"status": {"disruptionsAllowed": 1}}, keep="-"),
        post("dry-run", f"{_P}/eviction", _EVICTION | {"deleteOptions": {"dryRun": ["All"]}}),
        post("allowed", f"{_P}/eviction", _EVICTION),
        get("counted", f"{_BUDGETS}/a", keep="status.disruptionsAllowed"),
        get("going", _P, keep="metadata.deletionGracePeriodSeconds,status.conditions"),
        delete("end", _P, {"gracePeriodSeconds": 0}, keep="-"),
    ),
)

_SERVICES = "/api/v1/namespaces/{ns}/services"


def _service(name: str = "a", **spec: Any) -> dict[str, Any]:
    return thing("v1", "Service", name, spec={"selector": {"a": "b"}, "ports": [{"port": 80}]} | spec)


SERVICES = Scenario(
    "services",
    (
        post("minimal", _SERVICES, _service()),
        post("headless", _SERVICES, _service("headless", clusterIP="None")),
        post(
            "external",
            _SERVICES,
            thing("v1", "Service", "external", spec={"type": "ExternalName", "externalName": "x.example.com"}),
        ),
        post("bad-name", _SERVICES, _service("1a")),
        post("no-ports", _SERVICES, _service("{step}", ports=[])),
        post("bad-port", _SERVICES, _service("{step}", ports=[{"port": 0}])),
        post("nameless-ports", _SERVICES, _service("{step}", ports=[{"port": 1}, {"port": 2}])),
        post(
            "same-port-names", _SERVICES, _service("{step}", ports=[{"port": 1, "name": "x"}, {"port": 2, "name": "x"}])
        ),
        post("bad-type", _SERVICES, _service("{step}", type="Magic")),
        post("bad-protocol", _SERVICES, _service("{step}", ports=[{"port": 1, "protocol": "ICMP"}])),
        put("update-without-address", f"{_SERVICES}/a", _service(selector={"c": "d"}), keep="spec"),
        put("update-address", f"{_SERVICES}/a", _service(clusterIP="10.96.77.77"), keep="reason"),
        patch("ports", f"{_SERVICES}/a", STRATEGIC, {"spec": {"ports": [{"port": 81, "name": "more"}]}}, keep="-"),
    ),
)


def _created(name: str, prefix: str, plural: str, kind: str, **fields: Any) -> Step:
    api_version = prefix.split("/", 2)[2]
    return post(name, f"{prefix}/namespaces/{{ns}}/{plural}", thing(api_version, kind, name, **fields))


_CORE, _POLICY, _RBAC = "/api/v1", "/apis/policy/v1", "/apis/rbac.authorization.k8s.io/v1"
_LEASES, _NETWORK = "/apis/coordination.k8s.io/v1", "/apis/networking.k8s.io/v1"
_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}

SMALL_KINDS = Scenario(
    "small-kinds",
    (
        _created("secret", _CORE, "secrets", "Secret", data={"k": "dg=="}, stringData={"s": "text"}),
        _created("secret-not-base64", _CORE, "secrets", "Secret", data={"k": "%%%"}),
        _created("secret-type", _CORE, "secrets", "Secret", type="kubernetes.io/tls", data={}),
        put(
            "secret-change-type",
            "/api/v1/namespaces/{ns}/secrets/secret",
            thing("v1", "Secret", "secret", type="other"),
        ),
        _created("account", _CORE, "serviceaccounts", "ServiceAccount", automountServiceAccountToken=False),
        _created(
            "claim",
            _CORE,
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        ),
        _created("claim-empty", _CORE, "persistentvolumeclaims", "PersistentVolumeClaim", spec={}),
        _created(
            "lease",
            _LEASES,
            "leases",
            "Lease",
            spec={"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z"},
        ),
        _created("lease-zero", _LEASES, "leases", "Lease", spec={"leaseDurationSeconds": 0, "leaseTransitions": -1}),
        put(
            "lease-unconditional",
            f"{_LEASES}/namespaces/{{ns}}/leases/lease",
            thing("coordination.k8s.io/v1", "Lease", "lease"),
        ),
        _created("budget", _POLICY, "poddisruptionbudgets", "PodDisruptionBudget", spec={"maxUnavailable": "50%"}),
        _created(
            "budget-both",
            _POLICY,
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            spec={"maxUnavailable": 1, "minAvailable": 1},
        ),
        _created(
            "policy",
            _NETWORK,
            "networkpolicies",
            "NetworkPolicy",
            spec={"podSelector": {}, "ingress": [{"ports": [{"port": 80}], "from": [{"podSelector": {}}]}]},
        ),
        _created("role", _RBAC, "roles", "Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
        _created(
            "role-no-verbs", _RBAC, "roles", "Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": []}]
        ),
        _created(
            "binding",
            _RBAC,
            "rolebindings",
            "RoleBinding",
            roleRef=_REF,
            subjects=[
                {"kind": "ServiceAccount", "name": "default", "namespace": "{ns}"},
                {"kind": "User", "name": "jane"},
            ],
        ),
        _created("binding-no-ref", _RBAC, "rolebindings", "RoleBinding", subjects=[]),
        put(
            "binding-change-ref",
            f"{_RBAC}/namespaces/{{ns}}/rolebindings/binding",
            thing("rbac.authorization.k8s.io/v1", "RoleBinding", "binding", roleRef=_REF | {"name": "b"}),
        ),
        post("node", "/api/v1/nodes", thing("v1", "Node", "fidelity-node")),
        patch(
            "node-status",
            "/api/v1/nodes/fidelity-node/status",
            MERGE,
            {"status": {"capacity": {"cpu": 4}}},
            keep="status",
        ),
        delete("node-delete", "/api/v1/nodes/fidelity-node"),
    ),
)

SCENARIOS = (POD_SPECS, POD_LIFE, EVICTION, SERVICES, SMALL_KINDS)
