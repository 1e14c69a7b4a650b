"""Create, update, patch: what clients may set, when generation grows, how races end."""

from __future__ import annotations

from typing import Any

import pytest

from shoal_operator.local.apiserver import writes
from shoal_operator.local.apiserver.errors import StatusError

V1 = "example.com/v1"


def refusal(code: int, words: str) -> Any:
    """Expect a StatusError with this code and these words in it."""
    return pytest.raises(StatusError, check=lambda e: e.code == code and words in e.message)


def test_the_system_owns_uid_times_generation_and_status(api: Any, new_widget: Any) -> None:
    body = new_widget() | {"status": {"replicas": 5}}
    body["metadata"] |= {"uid": "mine", "generation": 7, "creationTimestamp": "2000-01-01T00:00:00Z"}
    made = api.create(body)
    assert made["metadata"]["uid"].startswith("uid-")
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["creationTimestamp"] == "2030-01-01T00:00:00Z"
    assert "status" not in made


def test_generate_name_makes_names(api: Any, new_pod: Any) -> None:
    body = new_pod()
    del body["metadata"]["name"]
    body["metadata"]["generateName"] = "p-"
    assert {api.create(body)["metadata"]["name"] for _ in range(2)} == {"p-00001", "p-00002"}


def test_generation_grows_with_the_spec_only(api: Any, new_widget: Any) -> None:
    api.create(new_widget())

    def generation(change: Any, subresource: str = "") -> int:
        done = api.patch("Widget", "w", change, api_version=V1, subresource=subresource)
        number: int = done["metadata"]["generation"]
        return number

    assert generation({"metadata": {"labels": {"a": "b"}}}) == 1
    assert generation({"status": {"replicas": 3}}, "status") == 1
    assert generation({"spec": {"replicas": 3}}) == 2
    assert generation({"spec": {"replicas": 3}}) == 2


def test_status_and_spec_change_through_their_own_endpoint_only(api: Any, new_widget: Any) -> None:
    made = api.create(new_widget())
    both = made | {"spec": {"size": "Large"}, "status": {"replicas": 4}}
    main = api.update(both)
    assert (main["spec"]["size"], "status" in main) == ("Large", False)
    both = main | {"spec": {"size": "Small"}, "status": {"replicas": 4}}
    both["metadata"] = both["metadata"] | {"labels": {"a": "b"}}
    status = api.update(both, "status")
    assert (status["spec"]["size"], status["status"]) == ("Large", {"replicas": 4})
    assert "labels" not in status["metadata"]


def test_a_write_that_changes_nothing_is_no_write(api: Any, new_widget: Any) -> None:
    made = api.create(new_widget())
    api.pass_time(60)
    version = api.context.store.resource_version
    assert api.update(made) == made
    assert api.patch("Widget", "w", {"spec": {"size": "Small"}}, api_version=V1) == made
    assert api.context.store.resource_version == version


def test_stale_versions_and_foreign_uids_conflict(api: Any, new_widget: Any) -> None:
    made = api.create(new_widget())
    api.patch("Widget", "w", {"spec": {"replicas": 3}}, api_version=V1)
    with refusal(409, "the object has been modified; please apply your changes to the latest version"):
        api.update(made)
    with refusal(409, "Precondition failed: UID in precondition: other, UID in object meta: uid-"):
        api.patch("Widget", "w", {"metadata": {"uid": "other"}}, api_version=V1)
    with refusal(409, "the object has been modified"):
        api.patch("Widget", "w", {"metadata": {"resourceVersion": "1"}}, api_version=V1)


def test_custom_objects_need_a_version_to_be_replaced(api: Any, new_widget: Any, new_pod: Any) -> None:
    api.create(new_widget())
    with refusal(422, "metadata.resourceVersion: Invalid value: 0: must be specified for an update"):
        api.update(new_widget(replicas=2))
    api.create(new_pod())
    api.update(new_pod() | {"metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}}})
    assert api.get("Pod", "p")["metadata"]["labels"] == {"a": "b"}


def test_names_and_kinds_must_agree_with_the_path(api: Any, new_widget: Any) -> None:
    body = new_widget()
    resource = api.resource(V1, "Widget")
    for change, words in (
        ({"kind": "Gadget"}, "do not match the expected"),
        ({"apiVersion": "example.com/v9"}, "do not match the expected"),
        ({"metadata": {"name": "w", "namespace": "other"}}, "does not match the namespace sent on the request"),
        ({"kind": ""}, "Object 'Kind' is missing"),
    ):
        with refusal(400, words):
            writes.create(api.context, resource, "default", body | change, writes.WriteOptions())
    api.create(body)
    with refusal(400, "the name of the object (x) does not match the name on the URL (w)"):
        api.patch("Widget", "w", {"metadata": {"name": "x"}}, api_version=V1)


def test_nothing_is_made_in_a_namespace_that_is_not_there_or_going(api: Any, new_pod: Any) -> None:
    body = new_pod()
    body["metadata"]["namespace"] = "nowhere"
    with refusal(404, 'namespaces "nowhere" not found'):
        api.create(body, namespace="nowhere")
    api.delete("Namespace", "default", namespace=None)
    with refusal(403, "because it is being terminated"):
        api.create(new_pod())


def test_a_taken_name_is_reported_once_the_object_is_valid(api: Any, new_widget: Any) -> None:
    api.create(new_widget())
    with refusal(422, "spec.size: Unsupported value"):
        api.create(new_widget(size="Nonsense"))
    with refusal(409, 'widgets.example.com "w" already exists'):
        api.create(new_widget(size="Large"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Upper"}, "a lowercase RFC 1123 subdomain must consist of"),
        ({"name": "x" * 254}, "must be no more than 253 characters"),
        ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
        ({"labels": {"a b": "c"}}, "name part must consist of alphanumeric characters"),
        ({"labels": {"a": "b c"}}, "a valid label must be an empty string or consist of"),
        ({"labels": {"a": "x" * 64}}, "must be no more than 63 characters"),
        ({"annotations": {"a": "x" * 300_000}}, "Too long: may not be more than 262144 bytes"),
        (
            {"ownerReferences": [{"kind": "X", "name": "x", "uid": "u"}]},
            'metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty',
        ),
        ({"finalizers": ["not a name"]}, "metadata.finalizers[0]: Invalid value"),
        ({"finalizers": ["unqualified"]}, "neither a standard finalizer name nor is it fully qualified"),
    ],
)
def test_metadata_that_no_cluster_takes(api: Any, new_pod: Any, change: Any, words: str) -> None:
    body = new_pod()
    body["metadata"] |= change
    with refusal(422, words):
        api.create(body)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"image": "x"}]}, "spec.containers[0].name: Required value"),
        ({"containers": [{"name": "A", "image": "x"}]}, "a lowercase RFC 1123 label"),
        ({"containers": [{"name": "a", "image": "x"}] * 2}, 'spec.containers[1].name: Duplicate value: "a"'),
        ({"restartPolicy": "Sometimes"}, 'supported values: "Always", "OnFailure", "Never"'),
        ({"activeDeadlineSeconds": 0}, "must be between 1 and 2147483647"),
        ({"dnsPolicy": "Nonsense"}, "spec.dnsPolicy: Unsupported value"),
        ({"nodeSelector": {"a b": "c"}}, "spec.nodeSelector: Invalid value"),
        ({"tolerations": [{"key": "a", "operator": "Like"}]}, "spec.tolerations[0].operator: Unsupported value"),
        ({"volumes": [{"name": "v", "emptyDir": {}, "secret": {}}]}, "may not specify more than 1 volume type"),
        ({"containers": [{"name": "a", "image": "x", "readinessProbe": {}}]}, "must specify a handler type"),
        (
            {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"m": "1"}, "requests": {"m": "2"}}}]},
            "must be less than or equal to m limit of 1",
        ),
        (
            {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        ({"containers": [{"name": "a", "image": "x", "env": [{"value": "1"}]}]}, "env[0].name: Required value"),
        ({"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 0}]}]}, "between 1 and 65535"),
    ],
)
def test_pods_that_no_cluster_takes(api: Any, new_pod: Any, spec: Any, words: str) -> None:
    with refusal(422, words):
        api.create(new_pod(**spec))


@pytest.mark.parametrize("spec", [None, [], "x", {"containers": "x"}, {"containers": [1]}, {"volumes": {"a": 1}}])
def test_pods_of_the_wrong_shape_are_refused_not_a_crash(api: Any, new_pod: Any, spec: Any) -> None:
    body = new_pod()
    body["spec"] = body["spec"] | spec if isinstance(spec, dict) else spec
    with pytest.raises(StatusError) as refused:
        api.create(body)
    assert refused.value.code in (400, 422)


def test_pods_get_their_defaults(api: Any, new_pod: Any) -> None:
    made = api.create(new_pod())
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert (spec["dnsPolicy"], spec["enableServiceLinks"]) == ("ClusterFirst", True)
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_running_pods_spec_is_fixed_but_for_its_images(api: Any, new_pod: Any) -> None:
    api.create(new_pod())
    image = {"spec": {"containers": [{"name": "main", "image": "image:2"}]}}
    api.patch("Pod", "p", image, writes.STRATEGIC_PATCH)
    env = {"spec": {"containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}]}}
    with refusal(422, "spec: Forbidden: pod updates may not change fields other than"):
        api.patch("Pod", "p", env, writes.STRATEGIC_PATCH)
    api.patch("Pod", "p", {"spec": {"nodeName": "one"}})
    with refusal(422, "pod updates may not change"):
        api.patch("Pod", "p", {"spec": {"nodeName": "two"}})


def service(**spec: Any) -> Any:
    meta = {"name": "s", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]} | spec}


def test_services_get_an_address_keep_it_and_give_it_back(api: Any) -> None:
    made = api.create(service())
    address = made["spec"]["clusterIP"]
    assert address.startswith("127.")
    assert made["spec"]["clusterIPs"] == [address]
    assert (made["spec"]["type"], made["spec"]["sessionAffinity"]) == ("ClusterIP", "None")
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert api.update(service(selector={"a": "b"}))["spec"]["clusterIP"] == address
    with refusal(422, "may not change once set"):
        api.patch("Service", "s", {"spec": {"clusterIP": "127.1.1.1"}})
    api.delete("Service", "s")
    assert api.pool.released == [address]


def test_a_refused_or_dry_service_takes_no_address(api: Any) -> None:
    with refusal(422, "spec.ports: Required value"):
        api.create(service(ports=[]))
    api.create(service(), dry_run=True)
    assert api.create(service())["spec"]["clusterIP"] == "127.9.9.1"


def test_headless_services_have_no_address(api: Any) -> None:
    assert api.create(service(clusterIP="None"))["spec"]["clusterIPs"] == ["None"]
    api.delete("Service", "s")
    assert api.pool.released == []


def test_secrets_take_plain_text_and_never_repeat_it(api: Any) -> None:
    meta = {"name": "s", "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"a": "b"}}
    made = api.create(secret)
    assert (made["data"], made["type"], "stringData" in made) == ({"a": "Yg=="}, "Opaque", False)
    with pytest.raises(StatusError) as refused:
        api.patch("Secret", "s", {"data": {"a": "hunter2!"}})
    assert "hunter2" not in str(refused.value.document())


def test_definitions_are_refused_with_every_reason(api: Any, widget_definition: Any) -> None:
    bad = widget_definition
    bad["metadata"]["name"] = "gadgets.example.com"
    bad["spec"]["names"] = {"kind": "Gadget", "plural": "gadgets"}
    properties = bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["typeless"] = {}
    properties["name"]["pattern"] = "("
    properties["groups"]["x-kubernetes-list-map-keys"] = ["count", "absent"]
    properties["replicas"]["default"] = "many"
    with pytest.raises(StatusError) as refused:
        api.create(bad, namespace=None)
    text = refused.value.message
    for words in (
        "properties[typeless].type: Required value",
        "properties[name].pattern",
        "items.properties[absent].default: Required value",
        "properties[replicas].default",
    ):
        assert words in text
    assert api.context.registry.find("example.com", "v1", "gadgets") is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.(", "compilation failed"),
        ("self.nope == 1", "undefined field 'nope'"),
        ("self.groups.all(g, unknown(g))", "undeclared reference to 'unknown'"),
        ("stranger == 1", "undeclared reference to 'stranger'"),
        ("", "rule is not specified"),
        ("quantity('1Gi').isGreaterThan(quantity('1'))", "undeclared reference to"),
    ],
)
def test_a_rule_that_cannot_be_evaluated_makes_the_definition_fail(
    api: Any, widget_definition: Any, rule: str, words: str
) -> None:
    spec = widget_definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": rule}]
    api.delete("CustomResourceDefinition", "widgets.example.com", "apiextensions.k8s.io/v1", None)
    api.collect()
    with refusal(422, words):
        api.create(widget_definition, namespace=None)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("self.min <= self.max", {"min": 1, "max": 2}, {"min": 2, "max": 1}),
        ("self.min <= self.max", {"min": 1, "max": 2}, {"min": 1}),
        ("size(self.tags) > 0", {"tags": ["a"]}, {"tags": []}),
        ("self.groups.all(g, g.count < 5)", {"groups": [{"name": "a"}]}, {"groups": [{"name": "a", "count": 9}]}),
        ("self.groups.exists_one(g, g.name == 'a')", {"groups": [{"name": "a"}]}, {"groups": [{"name": "b"}]}),
        ("!('x' in self.options)", {"options": {}}, {"options": {"x": "1"}}),
        ("self.name.startsWith('a') && self.name.matches('^[a-z]+$')", {"name": "ab"}, {"name": "b"}),
        ("[has(self.min), has(self.max)].exists_one(x, x)", {"min": 1}, {"min": 1, "max": 1}),
    ],
)
def test_rules_accept_and_refuse(
    api: Any, widget_definition: Any, new_widget: Any, rule: str, good: Any, bad: Any
) -> None:
    spec = widget_definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": rule, "message": "broken", "reason": "FieldValueForbidden"}]
    current = api.get("CustomResourceDefinition", "widgets.example.com", "apiextensions.k8s.io/v1", None)
    widget_definition["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
    api.update(widget_definition)
    api.create(new_widget("good", **good))
    with pytest.raises(StatusError) as refused:
        api.create(new_widget("bad", **bad))
    assert refused.value.code == 422


def test_a_default_is_held_against_the_rules_as_it_stands(api: Any, widget_definition: Any) -> None:
    """Defaults of members are not filled in first, so a rule may miss what the default leaves to them."""
    schema = widget_definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["properties"]["limits"] = {
        "type": "object",
        "properties": {"most": {"type": "integer", "default": 3}},
        "x-kubernetes-validations": [{"rule": "self.most > 0", "message": "must be positive"}],
        "default": {},
    }
    api.delete("CustomResourceDefinition", "widgets.example.com", "apiextensions.k8s.io/v1", None)
    api.collect()
    with refusal(422, "properties[limits].default: Invalid value"):
        api.create(widget_definition, namespace=None)
    schema["properties"]["limits"]["default"] = {"most": 3}
    api.create(widget_definition, namespace=None)


def test_transition_rules_compare_with_the_object_before(api: Any, widget_definition: Any, new_widget: Any) -> None:
    schema = widget_definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    frozen = [{"rule": "self == oldSelf", "message": "is immutable"}]
    schema["properties"]["size"]["x-kubernetes-validations"] = frozen
    current = api.get("CustomResourceDefinition", "widgets.example.com", "apiextensions.k8s.io/v1", None)
    widget_definition["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
    api.update(widget_definition)
    api.create(new_widget())
    with refusal(422, 'spec.size: Invalid value: "Large": is immutable'):
        api.patch("Widget", "w", {"spec": {"size": "Large"}}, api_version=V1)
    api.patch("Widget", "w", {"spec": {"replicas": 2}}, api_version=V1)


def test_strategic_merge_is_for_built_in_kinds(api: Any, new_widget: Any) -> None:
    api.create(new_widget())
    with refusal(415, "application/merge-patch+json"):
        api.patch("Widget", "w", {}, writes.STRATEGIC_PATCH, api_version=V1)


def test_unknown_fields_of_built_in_kinds_are_seen(api: Any, new_pod: Any) -> None:
    body = new_pod()
    body["spec"]["containers"][0]["imagePullPolice"] = "Never"
    with refusal(400, 'strict decoding error: unknown field "spec.containers[0].imagePullPolice"'):
        api.create(body, field_validation="Strict")
    assert "imagePullPolice" not in api.create(body)["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (
            {"ports": [{"containerPort": "80"}]},
            "unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        ({"resources": {"limits": {"cpu": "lots"}}}, "quantities must match the regular expression"),
        (
            {"env": {"A": "1"}},
            "cannot unmarshal object into Go struct field Container.spec.containers.env of type []v1.EnvVar",
        ),
        ({"tty": "yes"}, "cannot unmarshal string into Go struct field Container.spec.containers.tty of type bool"),
        ({"args": [1]}, "cannot unmarshal number into Go struct field Container.spec.containers.args of type string"),
    ],
)
def test_fields_of_the_wrong_type_are_bad_requests(api: Any, new_pod: Any, container: Any, words: str) -> None:
    body = new_pod()
    body["spec"]["containers"][0] |= container
    with refusal(400, words):
        api.create(body)


def test_nulls_are_absent_and_bare_numbers_are_quantities(api: Any, new_pod: Any) -> None:
    body = new_pod() | {"status": None}
    body["metadata"]["creationTimestamp"] = None
    body["spec"]["containers"][0] |= {"command": None, "resources": {"limits": {"cpu": 1, "memory": "64Mi"}}}
    made = api.create(body, field_validation="Strict")
    container = made["spec"]["containers"][0]
    assert "command" not in container
    limits = {"cpu": "1", "memory": "64Mi"}
    assert container["resources"] == {"limits": limits, "requests": limits}
    assert made["status"]["qosClass"] == "Guaranteed"
    assert api.apply(body | {"metadata": {"name": "p"}}, "one")["spec"] == made["spec"]


@pytest.mark.parametrize(
    "change",
    [
        {"labels": "x"},
        {"labels": {"a": 1}},
        {"annotations": [1]},
        {"ownerReferences": "x"},
        {"ownerReferences": [1]},
        {"finalizers": {"a": 1}},
        {"generateName": 1},
        {"name": 1},
    ],
)
@pytest.mark.parametrize("kind", ["pod", "widget", "namespace"])
def test_metadata_of_the_wrong_type_is_a_bad_request(
    api: Any, new_pod: Any, new_widget: Any, kind: str, change: Any
) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    body = {"pod": new_pod(), "widget": new_widget(), "namespace": namespace}[kind]
    body["metadata"] |= change
    with refusal(400, "cannot be handled as a"):
        api.create(body, namespace=None if kind == "namespace" else "default")
