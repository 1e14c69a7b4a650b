"""How workers ended, for the owners of what they were doing: a connection that closes does not say why.

Invariant: every question is answered, once: at once for a worker that has ended (as long as it is remembered) or is not
known, when it ends for one that lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shoal.node.clients import Client
from shoal.wire.rpc import reply

REMEMBERED_MAX: Final = 1000


class Obituaries:
    """The ends of the last workers of a node.

    Args:
        lives: whether a worker of that id is alive.
    """

    def __init__(self, lives: Callable[[str], bool]) -> None:
        self._lives = lives
        self._words: dict[str, str] = {}
        self._asked: dict[str, list[tuple[Client, int]]] = {}

    def ask(self, client: Client, call_id: int, args: tuple[Any, ...]) -> None:
        """``worker_end`` (worker id): answered with the words, "" when nothing is known."""
        worker_id = str(args[0])
        if self._lives(worker_id):
            self._asked.setdefault(worker_id, []).append((client, call_id))
        else:
            reply(client.connection, call_id, self._words.get(worker_id, ""))

    def ended(self, worker_id: str, words: str) -> None:
        """A worker has ended."""
        self._words[worker_id] = words
        while len(self._words) > REMEMBERED_MAX:
            del self._words[next(iter(self._words))]
        for client, call_id in self._asked.pop(worker_id, []):
            reply(client.connection, call_id, words)
