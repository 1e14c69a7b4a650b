"""``request_resources``: capacity that is there before the work for it is.

Invariant: a call is refused as a whole, or replaces as a whole what was asked for before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.core.floors import requested


def request_resources(
    num_cpus: int | None = None,
    bundles: Sequence[Mapping[str, float]] | None = None,
    bundle_label_selectors: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Ask for a cluster that could hold all of this at the same time, be it used or not.

    What runs counts: with 45 CPUs in use, ``num_cpus=100`` makes room for 55 more. The request lasts for as long as the
    cluster, beyond the program and a restart of a head that keeps its state, until another call, from anywhere in the
    cluster, replaces it; a call with nothing ends it. It changes no limit: groups stay within their ``maxReplicas``.
    Returns when the head has taken it, before any node is made.

    Args:
        num_cpus: as many bundles of one CPU.
        bundles: each a dict of resources that one node must have, ``{"GPU": 1, "CPU": 4}``.
        bundle_label_selectors: for each bundle the labels that its node must have; an empty dict: any node.

    Raises:
        ValueError: a number is negative or no number, a bundle asks for nothing, or there are too many.
        SystemFailureError: there is no session, or the head cannot be reached.

    Example:
        >>> shoal.autoscaler.sdk.request_resources(num_cpus=64, bundles=[{"GPU": 1, "CPU": 4}])
        >>> shoal.autoscaler.sdk.request_resources()  # no longer
    """
    floors = requested(num_cpus, bundles, bundle_label_selectors)
    from shoal._api.session import started_process

    plain = [(tuple(floor.shape.items()), floor.count, floor.label_selector) for floor in floors]
    started_process().ask("request_resources", plain)
