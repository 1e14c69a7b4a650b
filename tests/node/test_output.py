"""What workers print reaches the driver under the name of what printed it, however the bytes arrive."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.node.logs import LogStream
from shoal.wire.reactor import Reactor
from shoal.worker.output import announce

WRITTEN = b"early\n\x1ffirst\x1fno name\n\x1efirst\x1fa\nb\n\x1esecond\x1fc\x1efirst\x1fd\n\n\x1e lonely\nlast \x1e"
SHOWN = [
    ("", "early"),
    ("", "\x1ffirst\x1fno name"),
    ("first", "a"),
    ("first", "b"),
    ("second", "c"),
    ("first", "d"),
    ("first", ""),
    ("first", "\x1e lonely"),
    ("first", "last \x1e"),
]
KEPT = WRITTEN.replace(b"\x1efirst\x1f", b"").replace(b"\x1esecond\x1f", b"")


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    yield reactor
    reactor.close()


def shown(reactor: Reactor, path: Path, chunks: list[bytes]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    read, write = os.pipe()
    stream = LogStream(
        reactor, read, str(path), lambda lines, _err, title: found.extend((title, line) for line in lines), is_err=False
    )
    for chunk in chunks:
        os.write(write, chunk)
        stream.drain()
    os.close(write)
    stream.finish()
    return found


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, len(WRITTEN)), max_size=8))
def test_names_hold_wherever_the_stream_is_cut(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    reactor = Reactor()
    path = tmp_path_factory.mktemp("logs") / "out"
    edges = [0, *sorted(cuts), len(WRITTEN)]
    try:
        assert shown(reactor, path, [WRITTEN[a:b] for a, b in itertools.pairwise(edges)]) == SHOWN
    finally:
        reactor.close()
    assert path.read_bytes() == KEPT


def test_a_stream_knows_its_names_by_itself(reactor: Reactor, tmp_path: Path) -> None:
    """Lines of one stream that wait to be handed on bear no name that the other stream, read later, is at."""
    found: list[tuple[str, str]] = []
    pipes = [os.pipe(), os.pipe()]
    streams = [
        LogStream(
            reactor,
            read,
            str(tmp_path / str(read)),
            lambda lines, _err, title: found.extend((title, line) for line in lines),
            is_err=bool(index),
        )
        for index, (read, _write) in enumerate(pipes)
    ]
    out, err = pipes[0][1], pipes[1][1]
    for name in (b"first", b"second"):
        os.write(out, b"\x1e" + name + b"\x1fline of " + name + b"\n")
    streams[0].drain()
    os.write(out, b"another line of second\n")
    os.write(err, b"\x1efirst\x1f")
    streams[1].drain()
    streams[0].drain()
    assert found == [("first", "line of first"), ("second", "line of second"), ("second", "another line of second")]
    for stream in streams:
        stream.finish()
    os.close(out)
    os.close(err)


@pytest.mark.parametrize("name", ["f", "a\nb\x1e\x1fc", "\N{SNOWMAN}" * 500, "", "\ud800"])
def test_any_name_is_one_name(reactor: Reactor, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    announce(name)
    print("after")
    captured = capfd.readouterr()
    (line,) = shown(reactor, tmp_path / "out", [captured.out.encode()])
    assert line[1] == "after"
    assert captured.err.startswith("\x1e")
