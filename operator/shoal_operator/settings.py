"""Every knob of the operator, from the command line and the environment.

Invariant: settings are checked once, here, and never change afterwards. A flag wins over its environment
variable (``SHOAL_OPERATOR_`` + the field's name), which wins over the default. No setting holds a secret.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

ENVIRONMENT_PREFIX: Final = "SHOAL_OPERATOR_"
LEASE_SECONDS_MAX: Final = 3_600


class SettingsError(ValueError):
    """A setting is wrong; the text names it and says what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What the operator was started with."""

    kubeconfig: Path | None = None
    """File with the API server and the credentials. Default: the pod's own, $KUBECONFIG, ~/.kube/config."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to work in. Default: all of them."""

    leader_election: bool = True
    """Hold a Lease, so that of several replicas one works. Off only where there is certainly one operator."""

    lease_name: str = "shoal-operator"
    """Name of that Lease."""

    lease_namespace: str = ""
    """Its namespace. Default: the one of the pod or of the kubeconfig's context."""

    pod_namespace: str = ""
    """Namespace of the operator's own pods, which network policies let in to heads. Default: none are let in."""

    pod_labels: tuple[tuple[str, str], ...] = ()
    """Labels of these pods: ``a=b,c=d``. Default: every pod of that namespace counts as the operator's."""

    lease_duration_seconds: int = 15
    """Others wait so long before they take over from a silent leader. The leader itself gives up after two thirds."""

    metrics_address: str = ""
    """``host:port`` for /metrics (Prometheus' format), /healthz (fails when a watch is silent for too long, a
    worker hangs, or the lease is over) and /readyz (everything was listed). Default: none is served."""

    metrics_token_file: Path | None = None
    """File with a token that readers of /metrics have to show as ``Authorization: Bearer``. Default: none is asked
    for. The other two pages never ask: probes have none, and they name no object."""

    per_object_metrics: bool = False
    """Gauges for each object, by namespace and name, as well. Many objects make many time series."""

    log_format: str = "text"
    """``text`` for people, ``json`` for collectors: one object a line."""

    log_level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""

    workers: int = 16
    """Objects of one kind that are worked on at once."""

    shutdown_seconds: float = 10.0
    """Time for passes under way to end after SIGTERM. Keep it under the pod's grace period."""

    seed: int | None = None
    """Seed of all jitter, to replay a run. Default: random."""

    def __post_init__(self) -> None:
        _check_choice("log-format", self.log_format, ("text", "json"))
        _check_choice("log-level", self.log_level, ("debug", "info", "warning", "error"))
        if self.metrics_address:
            split_address(self.metrics_address)
        if not 1 <= self.lease_duration_seconds <= LEASE_SECONDS_MAX:
            raise SettingsError(
                f"lease-duration-seconds must be 1 to {LEASE_SECONDS_MAX}, got {self.lease_duration_seconds}"
            )
        if self.workers < 1:
            raise SettingsError(f"workers must be at least 1, got {self.workers}")
        if self.shutdown_seconds < 0:
            raise SettingsError(f"shutdown-seconds must not be negative, got {self.shutdown_seconds}")


def load(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings of a command line and an environment.

    Raises:
        SettingsError: a value is not allowed.
        SystemExit: an unknown flag, or ``--help``.
    """
    given = {**_from_environment(environ), **_from_arguments(arguments)}
    return Settings(**given)  # type: ignore[arg-type]


def split_address(text: str) -> tuple[str, int]:
    """``":8080"`` or ``"127.0.0.1:8080"`` as host and port.

    Raises:
        SettingsError: it is neither.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65_535:
        raise SettingsError(f"{text!r} is not an address: write host:port, for example 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    given: dict[str, object] = {}
    for setting in fields(Settings):
        name = ENVIRONMENT_PREFIX + setting.name.upper()
        if environ.get(name):
            given[setting.name] = _converted(setting.name, name, environ[name])
    return given


def _converted(setting: str, name: str, text: str) -> object:
    try:
        match setting:
            case "kubeconfig" | "metrics_token_file":
                return Path(text)
            case "namespaces":
                return tuple(part.strip() for part in text.split(",") if part.strip())
            case "pod_labels":
                return _labels(text)
            case "leader_election" | "per_object_metrics":
                return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
            case "workers" | "seed" | "lease_duration_seconds":
                return int(text)
            case "shutdown_seconds":
                return float(text)
            case _:
                return text
    except (KeyError, ValueError) as error:
        raise SettingsError(f"the environment variable {name} cannot be {text!r}") from error


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(key and separator for key, separator, _ in pairs):
        raise ValueError(text)
    return tuple((key, value) for key, _, value in pairs)


def _argument_labels(text: str) -> tuple[tuple[str, str], ...]:
    try:
        return _labels(text)
    except ValueError as error:
        raise SettingsError(f"pod-labels must be like a=b,c=d, got {text!r}") from error


def _from_arguments(arguments: Sequence[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(
        prog="shoal-operator",
        description="Runs ComputeClusters and ComputeJobs. Every flag but --help also reads "
        f"{ENVIRONMENT_PREFIX}<NAME> from the environment.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="API server and credentials")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--namespace", dest="namespaces", action="append", metavar="NS", help="repeatable")
    scope.add_argument("--all-namespaces", dest="namespaces", action="store_const", const=[], help="default")
    parser.add_argument("--no-leader-election", dest="leader_election", action="store_false")
    parser.add_argument("--lease-name", metavar="NAME")
    parser.add_argument("--lease-namespace", metavar="NS")
    parser.add_argument("--pod-namespace", metavar="NS", help="of the operator's own pods, for network policies")
    parser.add_argument("--pod-labels", metavar="A=B,...", help="of the operator's own pods, for network policies")
    parser.add_argument("--lease-duration-seconds", type=int, metavar="S", help="a silent leader is replaced after it")
    parser.add_argument("--metrics-address", metavar="HOST:PORT", help="serve /metrics, /healthz and /readyz there")
    parser.add_argument("--metrics-token-file", type=Path, metavar="FILE", help="token that /metrics asks for")
    parser.add_argument("--per-object-metrics", action="store_true", help="gauges by namespace and name as well")
    parser.add_argument("--log-format", choices=("text", "json"))
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--workers", type=int, metavar="N", help="objects of a kind worked on at once")
    parser.add_argument("--shutdown-seconds", type=float, metavar="S", help="patience after SIGTERM")
    parser.add_argument("--seed", type=int, metavar="N", help="of all jitter, to replay a run")
    given = vars(parser.parse_args(arguments))
    if "namespaces" in given:
        given["namespaces"] = tuple(given["namespaces"])
    if "pod_labels" in given:
        given["pod_labels"] = _argument_labels(given["pod_labels"])
    return given
