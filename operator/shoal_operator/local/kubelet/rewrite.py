"""What stands in for mounts and DNS: paths and Service names inside arguments and environment values.

A local process has the machine's file system and resolver, so a declared mount path is replaced by the real
directory, and the name of a Service by its address.

Invariant: pure; a text without a declared mount path and without a Service name comes back unchanged.
Rewriting happens *before* ``$(VAR)`` expansion, so that values from the downward API (a pod that is named like
its Service) are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_BEFORE_PATH: Final = r"(?<![^\s=:,;'\"(\[{<>|&`@])"
_AFTER_PATH: Final = r"(?=$|[/\s=:,;'\")\]}<>|&`*])"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST: Final = re.compile(
    rf"(?P<lead>^|=|,|[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?)"
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*)"
    rf"(?P<port>:\d{{1,5}})?(?=$|[/,?#])"
)
_ADDRESS_WORDS: Final = re.compile(r"host|addr|server|endpoint|url|uri|service|broker|master|target", re.IGNORECASE)


@dataclass(frozen=True)
class Rewriter:
    """Rewrites the values of one container.

    ``mounts`` maps mount paths to real paths; ``services`` maps ``name.namespace`` to an address.
    """

    namespace: str
    mounts: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)

    def path(self, text: str) -> str:
        """Replace every declared mount path that stands as a path of its own, longest first."""
        if not self.mounts:
            return text
        longest_first = sorted(self.mounts, key=len, reverse=True)
        either = "|".join(re.escape(path) for path in longest_first)
        pattern = re.compile(f"{_BEFORE_PATH}(?:{either}){_AFTER_PATH}")
        return pattern.sub(lambda found: self.mounts[found.group()], text)

    def hosts(self, text: str, *, names_an_address: bool) -> str:
        """Replace Service names: ``host:port``, URL hosts, dotted names.

        A bare single word (``demo``) is replaced only where the flag or variable that holds it names an
        address, because a pod, a group or a user may be called like a Service.
        """
        if not self.services:
            return text

        def replace(found: re.Match[str]) -> str:
            host, lead, port = found["host"], found["lead"], found["port"] or ""
            is_clear = "." in host or port or lead.endswith(("://", "@")) or names_an_address
            address = self._address(host) if is_clear else None
            return found.group() if address is None else f"{lead}{address}{port}"

        return _HOST.sub(replace, text)

    def _address(self, host: str) -> str | None:
        name, _, rest = host.partition(".")
        namespace, _, domain = rest.partition(".")
        if domain not in ("", "svc", "svc.cluster.local"):
            return None
        return self.services.get(f"{name}.{namespace or self.namespace}")

    def variable(self, name: str, value: str) -> str:
        """The value of an environment variable, rewritten."""
        return self.hosts(self.path(value), names_an_address=bool(_ADDRESS_WORDS.search(name)))

    def arguments(self, words: Sequence[str]) -> list[str]:
        """A command line, rewritten word by word; the word before a value tells what the value is."""
        rewritten: list[str] = []
        previous = ""
        for word in words:
            flag = word.partition("=")[0] if word.startswith("-") else previous
            clear = flag.startswith("-") and bool(_ADDRESS_WORDS.search(flag))
            rewritten.append(self.hosts(self.path(word), names_an_address=clear))
            previous = word
        return rewritten
