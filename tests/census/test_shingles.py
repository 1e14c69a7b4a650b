"""Shingles, signatures and buckets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import shingles
from settings import Settings
from shingles import Hashing, pack, similarity, unpack

BODY = "\n".join(f"value_{n} = self.field_{n}.read(value_{n - 1}, {n}) if ready else 'none'" for n in range(8))
PROGRAM = f"""
from settings import Settings
from shingles import Hashing
hashing = Hashing(Settings())
print(hashing.bucket_keys(hashing.shingles({BODY!r})))
"""


def test_names_numbers_text_and_comments_do_not_matter() -> None:
    hashing = Hashing(Settings())
    renamed = BODY.replace("value_", "w").replace("'none'", 'f"""nothing"""').replace("\n", "  # why\n")
    assert renamed != BODY
    assert hashing.shingles(renamed) == hashing.shingles(BODY) != frozenset()


def test_attributes_keywords_and_operators_do() -> None:
    hashing = Hashing(Settings())
    for other in (
        BODY.replace("field", "column"),
        BODY.replace("if ready", "or ready"),
        BODY.replace("=", "+="),
    ):
        assert hashing.shingles(other) != hashing.shingles(BODY)


def test_short_bodies_are_not_compared() -> None:
    settings = Settings(tokens_min=6)
    assert Hashing(settings).shingles("return x.y.z") == frozenset()
    assert Hashing(settings).shingles("return x + y - z") != frozenset()


def test_every_process_computes_the_same_buckets() -> None:
    hashing = Hashing(Settings())
    here = str(hashing.bucket_keys(hashing.shingles(BODY)))
    for hash_seed in ("0", "1"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": str(Path(shingles.__file__).parent),
        }
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert run.stdout.strip() == here


def test_the_seed_changes_the_buckets_and_nothing_else_does() -> None:
    one, same, other = (Hashing(Settings(seed=seed)) for seed in (1, 1, 2))
    assert one.bucket_keys(one.shingles(BODY)) == same.bucket_keys(same.shingles(BODY))
    assert one.bucket_keys(one.shingles(BODY)) != other.bucket_keys(other.shingles(BODY))


def test_agreement_of_minima_estimates_similarity() -> None:
    """The property that makes the buckets work: a minimum agrees as often as the sets are similar."""
    settings = Settings(bands=400, rows=1)
    hashing = Hashing(settings)
    numbers = [hashing._number(f"shingle {n}", 59) for n in range(300)]
    for shared in (50, 150, 250):
        one, other = frozenset(numbers[: 150 + shared // 2]), frozenset(numbers[150 - shared // 2 :])
        agreeing = sum(a == b for a, b in zip(hashing.bucket_keys(one), hashing.bucket_keys(other), strict=True))
        assert abs(agreeing / 400 - similarity(one, other)) < 0.1


def test_a_set_survives_packing() -> None:
    assert unpack(pack(frozenset({3, 1, 2**59}))) == {3, 1, 2**59}
    assert pack(frozenset({3, 1})) == pack(frozenset({1, 3}))
