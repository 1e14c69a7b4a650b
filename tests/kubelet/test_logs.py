from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal_operator.local.kubelet.logs import ContainerLog, LogLimits, LogOptions, files_of, follow_log, read_log

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LIMITS = LogLimits(max_bytes=1000, max_files=3)


DEFAULT = LogLimits()


def read(path: Path, limits: LogLimits = DEFAULT, **options: Any) -> bytes:
    return b"".join(read_log(path, limits, LogOptions(**options)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c" / "0.log"


def test_what_was_written_comes_back(path: Path) -> None:
    log = ContainerLog(path, LogLimits())
    log.write("stdout", b"one\ntw", NOW)
    log.write("stderr", b"err\n\n", NOW)
    log.write("stdout", b"o\nthree", NOW)
    log.flush("stdout", NOW)
    log.close()
    assert read(path) == b"one\nerr\n\ntwo\nthree"
    assert path.read_bytes().splitlines()[0] == b"2026-01-02T03:04:05.678901Z stdout F one"


def test_bytes_that_are_no_text_and_long_lines_survive(path: Path) -> None:
    data = bytes(range(256)).replace(b"\n", b"") + b"x" * 100_000
    log = ContainerLog(path, LogLimits())
    for at in range(0, len(data), 7001):
        log.write("stdout", data[at : at + 7001], NOW)
    log.write("stdout", b"\nend\n", NOW)
    log.close()
    assert read(path) == data + b"\nend\n"
    stamped = read(path, timestamps=True)
    assert stamped.count(b"2026-01-02T03:04:05.678901Z ") == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tail_lines": 2}, b"8\n9\n"),
        ({"tail_lines": 0}, b""),
        ({"tail_lines": 100}, b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        ({"limit_bytes": 5}, b"0\n1\n2"),
        ({"since": NOW + timedelta(seconds=8)}, b"8\n9\n"),
        ({"tail_lines": 3, "limit_bytes": 3}, b"7\n8"),
    ],
)
def test_options_of_kubectl_logs(path: Path, options: dict[str, Any], expected: bytes) -> None:
    log = ContainerLog(path, LogLimits())
    for number in range(10):
        log.write("stdout", b"%d\n" % number, NOW + timedelta(seconds=number))
    log.close()
    assert read(path, **options) == expected


def test_a_log_is_bounded_and_keeps_the_newest(path: Path) -> None:
    log = ContainerLog(path, LIMITS)
    for number in range(500):
        log.write("stdout", b"line %05d\n" % number, NOW)
    log.close()
    files = files_of(path, LIMITS)
    assert len(files) <= LIMITS.max_files
    assert all(one.stat().st_size <= LIMITS.max_bytes for one in files)
    lines = read(path, LIMITS).split()
    assert lines[-1] == b"00499"
    numbers = [int(word) for word in lines if word != b"line"]
    assert numbers == list(range(numbers[0], 500))


async def test_a_follower_gets_everything_through_rotations(path: Path) -> None:
    log = ContainerLog(path, LIMITS)
    log.write("stdout", b"before\n", NOW)
    got: list[bytes] = []

    async def follow() -> None:
        async for text in follow_log(log, LIMITS, LogOptions(follow=True)):
            got.append(text)  # noqa: PERF401 (the test looks at it while it grows)

    task = asyncio.create_task(follow())
    while not got:
        await asyncio.sleep(0)
    for number in range(200):
        log.write("stdout", b"line %d\n" % number, NOW)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    log.close()
    await asyncio.wait_for(task, 5)
    assert log.rotations > 3
    assert b"".join(got) == b"before\n" + b"".join(b"line %d\n" % number for number in range(200))


async def test_followers_of_an_ended_log_end(path: Path) -> None:
    log = ContainerLog(path, LIMITS)
    log.write("stdout", b"all\n", NOW)
    log.close()
    assert [text async for text in follow_log(log, LIMITS, LogOptions(tail_lines=5))] == [b"all\n"]
