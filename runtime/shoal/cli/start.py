"""``shoal start``: one node process, which is a cluster's head as well with ``--head``.

Also run as ``python -m shoal.cli.start`` by ``shoal.init()``, where every millisecond counts: this module imports
neither click nor grpc, and the head's network server is imported only when there is a control port.

Invariant: an error that a person can put right is one line on stderr and exit code 1 (2 for wrong options);
a refused node ends with 3, one that lost its head with 4, a stopped one with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from shoal.core.membership import SILENCE_SECONDS
from shoal.resources import ResourceSet

if TYPE_CHECKING:
    import click

CONTROL_PORT: Final = 7380
FRAMES_PORT: Final = 7381
HEAD_TIMEOUT_SECONDS: Final = 600.0
LEAST_SILENCE_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 20.0
DEFAULT_OBJECT_STORE_BYTES: Final = 1 << 30
STATE_SCHEMES: Final = ("redis://", "rediss://", "unix://")
STATE_RETENTION_SECONDS: Final = 30 * 24 * 3600.0
STATE_PASSWORD: Final = "SHOAL_STATE_PASSWORD"  # noqa: S105 - the name of a variable
MEMORY_SHARE: Final = 0.7
"""Of a laptop's memory, how much tasks may ask for as the logical resource ``memory``."""


@dataclass(frozen=True)
class StartOptions:
    """How one node process is started; see ``shoal start --help``."""

    head: bool
    local: bool
    address: str
    node_ip: str
    control_port: int
    frames_port: int
    total: ResourceSet
    labels: Mapping[str, str] = field(default_factory=dict)
    token_file: str = ""
    tls_dir: str = ""
    pod_name: str = ""
    group: str = ""
    session_dir: str = ""
    object_store_bytes: int = DEFAULT_OBJECT_STORE_BYTES
    state_dir: str = ""
    state_url: str = ""
    state_name: str = ""
    state_retention_seconds: float = STATE_RETENTION_SECONDS
    silence_seconds: float = SILENCE_SECONDS
    head_timeout_seconds: float = HEAD_TIMEOUT_SECONDS
    drain_seconds: float = DRAIN_SECONDS
    owner_pid: int = 0
    lifeline_fd: int = -1
    ready_fd: int = -1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shoal start", description="Start one node of a cluster.")
    add = parser.add_argument
    add("--head", action="store_true", help="be the head of a new cluster as well")
    add("--address", default="", metavar="HOST:PORT", help="join the cluster of this head, waiting until it is there")
    add("--local", action="store_true", help="with --head: no network at all, for one machine")
    add("--node-ip", default="127.0.0.1", help="address of this node, and the only one it listens on")
    add("--control-port", type=_port, default=CONTROL_PORT, help="the head's gRPC port (default: %(default)s)")
    add("--frames-port", type=_port, default=FRAMES_PORT, help="port for tasks and objects (default: %(default)s)")
    add("--num-cpus", type=float, help="logical CPUs (default: those of this machine)")
    add("--num-gpus", type=float, help="logical GPUs (default: 0)")
    add("--resources", type=_json_object, default={}, metavar="JSON", help='logical resources, as {"CPU": 2}')
    add("--labels", type=_json_object, default={}, metavar="JSON", help="labels for label selectors")
    add("--object-store-bytes", type=int, default=DEFAULT_OBJECT_STORE_BYTES, help="limit of shared memory for objects")
    add("--token-file", default="", help="file with the cluster's token, needed unless --local")
    add("--tls-dir", default="", metavar="DIR", help="encrypt, with ca.crt, tls.crt and tls.key of this directory")
    add("--pod-name", default="", help="name of the pod this runs in")
    add("--group", default="", help="worker group of this node")
    add("--session-dir", default="", help="directory of this process (default: a new one)")
    add("--state-dir", default="", metavar="DIR", help="with --head: keep what must outlive the head's process here")
    url = f"with --head: the same in Redis, redis(s)://HOST:PORT/DB; its password in ${STATE_PASSWORD}"
    add("--state-url", default="", metavar="URL", help=url)
    add("--state-name", default="", metavar="NAME", help="with --state-url: the cluster's name there, unique")
    retention = "with --state-url: what no head has touched for so long goes (default: %(default)g)"
    add("--state-retention-seconds", type=float, default=STATE_RETENTION_SECONDS, help=retention)
    silence = "with --head: a node that says nothing for so long is lost (default: %(default)g)"
    add("--silence-seconds", type=float, default=SILENCE_SECONDS, help=silence)
    add("--head-timeout-seconds", type=float, default=HEAD_TIMEOUT_SECONDS, help="end when the head is away for longer")
    add("--drain-seconds", type=float, default=DRAIN_SECONDS, help="of a worker: how long SIGTERM lets tasks finish")
    for hidden in ("--owner-pid", "--lifeline-fd", "--ready-fd"):
        add(hidden, type=int, default=0 if hidden == "--owner-pid" else -1, help=argparse.SUPPRESS)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, got {port}")
    return port


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('a JSON object is needed, as {"CPU": 2}')
    return value


def parse(argv: Sequence[str]) -> StartOptions:
    """Read the command line. Ends the process with code 2 and a usage line when it is wrong."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    if given["head"] == bool(given["address"]):
        parser.error("give either --head (a new cluster) or --address HOST:PORT (join one)")
    if given["local"] and not given["head"]:
        parser.error("--local is for --head")
    if given["state_dir"] and (given["local"] or not given["head"]):
        parser.error("--state-dir is for --head, and not for --local")
    if given["state_url"] and (given["local"] or not given["head"] or given["state_dir"]):
        parser.error("--state-url is for --head, not for --local, and not beside --state-dir")
    if given["state_url"] and not (given["state_url"].startswith(STATE_SCHEMES) and given["state_name"]):
        parser.error(f"--state-url needs an address that begins with {' or '.join(STATE_SCHEMES)}, and --state-name")
    if given["silence_seconds"] < LEAST_SILENCE_SECONDS:
        parser.error(f"--silence-seconds is at least {LEAST_SILENCE_SECONDS:g}, got {given['silence_seconds']:g}")
    if not given["local"] and not given["token_file"]:
        parser.error("--token-file is needed: everything on the network is authenticated")
    try:
        total = _total(given.pop("num_cpus"), given.pop("num_gpus"), given.pop("resources"), local=given["local"])
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    given["labels"] = {str(name): str(value) for name, value in given["labels"].items()}
    given["group"] = given["group"] or ("head" if given["head"] else "")
    return StartOptions(total=total, **given)


def _total(cpus: float | None, gpus: float | None, resources: Mapping[str, float], *, local: bool) -> ResourceSet:
    units = dict(resources)
    asked = {"CPU": cpus, "GPU": gpus}
    units.update({name: quantity for name, quantity in asked.items() if quantity is not None})
    units.setdefault("CPU", float(len(os.sched_getaffinity(0))))
    if local:
        machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        units.setdefault("memory", int(machine_bytes * MEMORY_SHARE))
    return ResourceSet.from_units(units)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a node process to its end; returns the exit code."""
    options = parse(sys.argv[1:] if argv is None else argv)
    from shoal.cli.node_process import NodeProcess

    try:
        return NodeProcess(options).run()
    except (OSError, ValueError) as error:
        if os.environ.get("SHOAL_TRACEBACK") == "1":
            raise
        print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1


def __getattr__(name: str) -> click.Command:
    """``start`` for the ``shoal`` command: made on demand, because click is not needed otherwise."""
    if name != "start":
        raise AttributeError(name)
    import click

    @click.command("start", context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def start(arguments: tuple[str, ...]) -> None:
        """Start one node of a cluster, as its head or as a worker."""
        sys.exit(main(arguments))

    return start


if __name__ == "__main__":
    sys.exit(main())
