"""The words of the contract between heads and operators: spelled for ever as they are, and the only ones in use."""

from __future__ import annotations

import pytest

from shoal.core.jobs import JobSpec, JobTable
from shoal.protocol import reasons
from shoal_operator.domain.reasons import Reason

WORDS = {name: value for name, value in vars(reasons).items() if name.isupper()}


def test_no_word_changes_while_heads_of_other_versions_may_run() -> None:
    assert WORDS == {
        "ENTRYPOINT_SUCCEEDED": "EntrypointSucceeded",
        "ENTRYPOINT_FAILED": "EntrypointFailed",
        "ENTRYPOINT_NOT_FOUND": "EntrypointNotFound",
        "DRIVER_NOT_STARTED": "DriverNotStarted",
        "STOPPED_BY_REQUEST": "StoppedByRequest",
        "HEAD_STOPPED": "HeadStopped",
        "HEAD_LOST": "HeadLost",
        "NODE_LOST": "NodeLost",
        "NODE_OUT_OF_TOUCH": "NodeOutOfTouch",
    }


def test_the_operator_spells_the_words_that_it_acts_on_alike() -> None:
    shared = WORDS.keys() & Reason.__members__.keys()
    assert {name: Reason[name].value for name in shared} == {name: WORDS[name] for name in shared}
    assert {"HEAD_STOPPED", "HEAD_LOST", "NODE_LOST", "NODE_OUT_OF_TOUCH", "ENTRYPOINT_FAILED"} <= shared


@pytest.mark.parametrize(
    ("stopped_for", "exit_code", "word"),
    [
        (None, 0, reasons.ENTRYPOINT_SUCCEEDED),
        (None, 3, reasons.ENTRYPOINT_FAILED),
        (None, 127, reasons.ENTRYPOINT_NOT_FOUND),
        ("", 143, reasons.STOPPED_BY_REQUEST),
        ("please, it takes too long", 143, reasons.STOPPED_BY_REQUEST),
        (reasons.HEAD_STOPPED, 143, reasons.HEAD_STOPPED),
    ],
)
def test_the_head_gives_no_other_word_for_an_end(stopped_for: str | None, exit_code: int, word: str) -> None:
    table = JobTable()
    table.submit(JobSpec("s", "j", "program"))
    table.started("s", 0.0)
    if stopped_for is not None:
        assert table.stop_requested("s", stopped_for)
    table.exited("s", exit_code, 1.0)
    job = table.get("s")
    assert job is not None
    assert job.reason == word
