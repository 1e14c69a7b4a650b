"""The text of a function -> a set of shingles -> a short signature -> buckets. Pure.

Two functions are near-duplicates when their sets of shingles (five tokens in a row) have a Jaccard similarity
of at least the limit. Comparing every pair would take hours, so each set gets a minhash signature, and only
functions that agree on one band of it are compared, with the exact similarity.

Invariant: every number here follows from text and seed through blake2b and integer arithmetic. Python's own
``hash`` is never used: it differs between processes, and a shuffle needs all processes to agree.
"""

from __future__ import annotations

import keyword
import re
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from settings import Settings

_TOKEN = re.compile(
    r"""
      [rbfuRBFU]{0,2}(?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')  # text
    | \#.*                      # comment
    | \.?[^\W\d]\w*             # name, keyword or attribute with its dot
    | \d[\w.]*                  # number
    | [-+*/%@&|^<>=!~]+         # operator
    | [^\s\w]                   # punctuation
    """,
    re.VERBOSE,
)
_BITS = 28
"""Token numbers and factors have 28 bits, so that a shingle (a sum of five products) stays under 60: CPython
keeps that in two digits, and arithmetic on it is quick."""


class Hashing:
    """The seeded functions of one census, and the numbers of the tokens seen so far."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._factors = [self._number(f"factor {n}", _BITS) | 1 for n in range(settings.shingle_tokens)]
        self._masks = [self._number(f"mask {n}", 2 * _BITS + 3) for n in range(settings.bands * settings.rows)]
        self._numbers: dict[str, int] = {}

    def shingles(self, body: str) -> frozenset[int]:
        """The set of shingles of a function's body; empty when it has too few tokens to be compared.

        Names of variables, text and numbers count as what they are, not which; keywords, attributes and
        operators count literally. So a copy with renamed variables is found.
        """
        tokens = self._tokens(body)
        if len(tokens) < self._settings.tokens_min:
            return frozenset()
        sums: Iterable[int] = [0] * (len(tokens) - len(self._factors) + 1)
        for offset, factor in enumerate(self._factors):
            sums = [total + token * factor for total, token in zip(sums, tokens[offset:], strict=False)]
        return frozenset(sums)

    def bucket_keys(self, shingles: frozenset[int]) -> list[int]:
        """One 64-bit bucket key per band.

        The minima are taken over ``shingle ^ mask`` with one random mask each: for shingles that are well
        spread the nearest one to a random mask is a fair draw, which is all that minhash asks for.
        """
        rows = self._settings.rows
        minima = [min([shingle ^ mask for shingle in shingles]) for mask in self._masks]
        return [self._key(band, minima[band * rows : (band + 1) * rows]) for band in range(self._settings.bands)]

    def _tokens(self, body: str) -> list[int]:
        numbers = self._numbers
        tokens = []
        for text in _TOKEN.findall(body):
            number = numbers.get(text)
            if number is None:
                kind = _kind(text)
                number = self._number(f"token {kind}", _BITS) if kind else 0
                if len(text) <= 40:
                    numbers[text] = number
            if number:
                tokens.append(number)
        return tokens

    def _number(self, purpose: str, bits: int) -> int:
        digest = blake2b(f"{self._settings.seed} {purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> (64 - bits)

    def _key(self, band: int, minima: Sequence[int]) -> int:
        digest = blake2b(array("q", (self._settings.seed, band, *minima)).tobytes(), digest_size=8).digest()
        return int.from_bytes(digest, "big")


def _kind(text: str) -> str:
    """What a token counts as: itself, the kind of thing it is, or nothing (a comment)."""
    if text[0] == "#":
        return ""
    if text[-1] in "\"'":
        return "'text'"
    if text[0].isdigit():
        return "0"
    if text.isidentifier() and not keyword.iskeyword(text):
        return "name"
    return text


def similarity(one: frozenset[int], other: frozenset[int]) -> float:
    """Jaccard's: how much of all that the two have is in both, 0 to 1."""
    shared = len(one & other)
    return round(shared / (len(one) + len(other) - shared), 4)


def pack(shingles: frozenset[int]) -> bytes:
    """The set in sorted order as bytes: compact on its way to another process, equal for equal sets."""
    return array("q", sorted(shingles)).tobytes()


def unpack(packed: bytes) -> frozenset[int]:
    """The set again."""
    numbers = array("q")
    numbers.frombytes(packed)
    return frozenset(numbers)
