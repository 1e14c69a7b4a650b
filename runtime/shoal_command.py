"""The first lines of the ``shoal`` command, outside of the package so that nothing is imported before them.

Invariant: ``shoal start`` loses no SIGTERM. The first process of a container is sent none that it has no handler for:
the kernel drops it, and a pod that is deleted while it starts would stay for its whole grace period. So the signal is
held back from here on, until ``shoal.cli.node_process`` has its handlers.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command."""
    if sys.argv[1:2] == ["start"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    from shoal.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
