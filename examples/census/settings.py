"""What a census is computed with; the report repeats it, so that a report says how to get it again.

Invariant: two runs with equal settings and equal files give equal reports, however the work is divided.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameters that change the answer (how the work is divided does not, and is not here)."""

    seed: int = 20
    """Seeds the hash functions of tokens, signatures and buckets."""
    shingle_tokens: int = 5
    """How many consecutive tokens make one shingle."""
    tokens_min: int = 40
    """Functions with fewer tokens in their body are not compared: short ones are alike by nature."""
    similarity_min: float = 0.8
    """Jaccard similarity of two shingle sets from which two functions count as near-duplicates."""
    bands: int = 8
    """Buckets that each function goes into; two functions are compared when they share one of them."""
    rows: int = 3
    """Minima that make one bucket's key. With 8 bands of 3, a pair at 0.8 is found with probability 0.997."""
    bucket_max: int = 40
    """Different bodies compared in one bucket; what exceeds it is left out and counted."""
    file_bytes_max: int = 1_000_000
    """Larger files are not read; they are counted with the reason."""
