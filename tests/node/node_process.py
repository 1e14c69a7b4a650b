"""A node with its head, as a process: ``node_process.py SESSION_DIR CPUS ENTRY``."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from harness import make_config, make_head

from shoal.head.local_link import LocalLink
from shoal.node.agent import NodeAgent
from shoal.resources import ResourceSet
from shoal.wire.reactor import Reactor


def main() -> None:
    directory, cpus, entry = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    reactor = Reactor()
    head = make_head(directory)
    config = make_config(directory, total=ResourceSet.from_units({"CPU": cpus}), worker_entry=entry)
    agent = NodeAgent(
        reactor, config, lambda events: LocalLink(head, events, reactor.call_soon), lambda _reason: reactor.stop()
    )
    agent.start()
    signal.signal(signal.SIGTERM, lambda *_: agent.stop("SIGTERM", 2.0))
    print(json.dumps({"node_id": config.node_id}), flush=True)
    reactor.run_forever()
    head.close()
    reactor.close()


main()
