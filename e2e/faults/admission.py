"""Faults that keep pods from being created. Pure."""

from __future__ import annotations

from e2e.faults.fault import REAL, Fault, named
from e2e.manifests import Manifest


def of_admission(namespace: str) -> tuple[Fault, ...]:
    """Creations that the API server refuses."""
    policy = f"{namespace}-team"
    quota = named("ResourceQuota", "small", spec={"hard": {"pods": "0"}})
    return (
        Fault("quota", "QuotaExceeded", "exceeded quota: small", before=(quota,)),
        Fault(
            "quota-worker",
            "QuotaExceeded",
            "exceeded quota: small",
            worker={},
            before=(named("ResourceQuota", "small", spec={"hard": {"pods": "1"}}),),
        ),
        Fault("pod-security", "AdmissionDenied", "violates PodSecurity", head={"hostNetwork": True}, places=REAL),
        Fault("policy", "AdmissionDenied", "no pods today", before=_denying_policy(policy, namespace), places=REAL),
        Fault(
            "webhook",
            "AdmissionUnavailable",
            "failed calling webhook",
            before=_dead_webhook(policy, namespace),
            places=REAL,
        ),
        Fault(
            "service-account",
            "ServiceAccountMissing",
            'serviceaccount "absent" not found',
            head={"serviceAccountName": "absent"},
            missing=(named("ServiceAccount", "absent"),),
            places=REAL,
        ),
        Fault(
            "priority-class",
            "PriorityClassMissing",
            "no PriorityClass with name",
            head={"priorityClassName": policy},
            places=REAL,
        ),
        Fault(
            "template",
            "InvalidTemplate",
            'unknown field "spec.tolerationz"',
            worker={"tolerationz": []},
        ),
    )


def _denying_policy(name: str, namespace: str) -> tuple[Manifest, ...]:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return (
        named(
            "ValidatingAdmissionPolicy",
            name,
            "admissionregistration.k8s.io/v1",
            spec={
                "matchConstraints": {"resourceRules": rules},
                "validations": [{"expression": "false", "message": "no pods today"}],
            },
        ),
        named(
            "ValidatingAdmissionPolicyBinding",
            name,
            "admissionregistration.k8s.io/v1",
            spec={"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}},
        ),
    )


def _dead_webhook(name: str, namespace: str) -> tuple[Manifest, ...]:
    webhook = {
        "name": "down.shoal.dev",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    return (named("ValidatingWebhookConfiguration", name, "admissionregistration.k8s.io/v1", webhooks=[webhook]),)
