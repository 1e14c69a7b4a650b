"""The whole output goes to a URL, a program comes from one; neither can harm a job or outlive the head."""

import functools
import http.server
import os
import shutil
import threading
import time
import urllib.error
import zipfile

import pytest
from tests.polling import until

from shoal.core.jobs import Job, JobSpec
from shoal.jobs import transfer
from shoal.jobs.package_store import PackageStore
from shoal.jobs.runner import JobHooks, JobRunner
from shoal.jobs.submission import SubmitError
from shoal.jobs.transfers import FETCH_SECONDS, PARALLEL_MAX, Transfers
from shoal.protocol import head_pb2

FINAL = ("Saved", "Failed")


@pytest.fixture
def runner(tmp_path):
    hooks = JobHooks(lambda urgent: None, lambda job_id: None)
    made = JobRunner(tmp_path, str(tmp_path / "node.sock"), PackageStore(tmp_path / "head"), hooks)
    yield made
    made.close()


def run(runner, entrypoint, **fields):
    runner.submit(head_pb2.SubmitJobRequest(submission_id="j", entrypoint=entrypoint, **fields))


def saved(runner):
    return until(lambda: (job := runner.snapshot("j")) and job.output_state in FINAL and job)


def test_whole_output_is_saved_at_the_end(runner, tmp_path):
    target = tmp_path / "logs" / "j.log"
    run(runner, "seq 1 5000", output_url=f"file://{target}")
    job = saved(runner)
    assert (job.output_state, job.output_message) == ("Saved", f"file://{target}")
    assert target.read_text().split() == [str(number) for number in range(1, 5001)]
    assert len(job.output_tail) <= 4096


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://bucket/x", "nosuch"),
        ("file:///proc/nowhere/x", "nowhere"),
    ],
)
def test_output_that_cannot_be_saved_is_said_and_the_job_is_what_it_was(runner, url, words):
    run(runner, "echo fine", output_url=url)
    job = saved(runner)
    assert job.state == head_pb2.JOB_STATE_SUCCEEDED
    assert job.output_state == "Failed"
    assert words in job.output_message
    assert "Traceback" not in job.output_message


def test_credentials_reach_the_upload_and_nothing_else(runner, tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "SECRET_KEY").write_text("hush")
    seen = tmp_path / "seen"
    module = tmp_path / "lib" / "fsspec.py"
    module.parent.mkdir()
    module.write_text(f"import os\ndef open(url, mode):\n    return __import__('io').open({str(seen)!r}, mode)\n")
    module.write_text(
        f"import io, os\ndef open(url, mode):\n    f = io.open({str(seen)!r}, mode)\n"
        "    f.write(os.environ['SECRET_KEY'].encode() + b'\\n')\n    return f\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(module.parent))
    run(runner, "echo ${SECRET_KEY:-none}", output_url="s3://bucket/x", output_secret_directory=str(secret))
    assert saved(runner).output_state == "Saved"
    assert seen.read_text() == "hush\nnone\n"
    assert "SECRET_KEY" not in os.environ


@pytest.mark.parametrize(
    "left", [{"state": "SUCCEEDED", "end_time": 2.0, "output_state": "Saving"}, {"state": "RUNNING", "launched": True}]
)
def test_output_that_went_with_an_earlier_head_is_not_said_to_be_saved(runner, tmp_path, left):
    target = tmp_path / "saved"
    spec = JobSpec("j", "01000000", "true", output_url=f"file://{target}")
    runner.restore([Job(spec, start_time=1.0, **left)])
    job = saved(runner)
    assert (job.output_state, "head that was lost" in job.output_message) == ("Failed", True)
    assert not target.exists()


def archive(path):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("main.py", "print('fetched')\n")
    return path


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_program_is_fetched_from_a_uri(runner, tmp_path, scheme, server):
    archive(tmp_path / "program.zip")
    uri = f"file://{tmp_path}/program.zip" if scheme == "file" else f"{server}/program.zip"
    run(runner, "python main.py", working_directory=uri)
    job = until(lambda: (job := runner.snapshot("j")) and job.end_time_seconds and job)
    assert job.output_tail == "fetched\n"


@pytest.mark.parametrize(
    ("uri", "words"), [("file:///nowhere/x.zip", "nowhere"), ("file:///etc/hostname", "neither a zip nor a tar")]
)
def test_program_that_cannot_be_fetched_is_refused_with_words(runner, uri, words):
    with pytest.raises(SubmitError) as caught:
        run(runner, "true", working_directory=uri)
    assert (caught.value.kind, words in str(caught.value)) == ("NoSource", True)
    assert runner.snapshot("j") is None


@pytest.mark.parametrize("limit", ["UNPACKED_BYTES_MAX", "UNPACKED_FILES_MAX"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_holds_too_much_is_not_unpacked(tmp_path, monkeypatch, kind, limit):
    monkeypatch.setattr(transfer, limit, 1)
    source, target = tmp_path / "source", tmp_path / "target"
    for made in (source, target):
        made.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(b"x" * 10)
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, source)
    with pytest.raises(transfer.TransferError, match="at most"):
        transfer.fetch(f"file://{packed}", target)
    assert list(target.iterdir()) == []


def test_uploads_that_hang_hold_up_no_fetch(tmp_path):
    fifo, program = tmp_path / "fifo", tmp_path / "program"
    os.mkfifo(fifo)
    program.mkdir()
    transfers, ends = Transfers(), []
    for number in range(PARALLEL_MAX + 1):
        transfers.save(f"file://{tmp_path}/target-{number}", fifo, "", ends.append)
    until(lambda: len(transfers._children) == PARALLEL_MAX)
    began = time.monotonic()
    assert transfers.fetch(f"file://{archive(tmp_path / 'program.zip')}", program) is None
    assert time.monotonic() - began < FETCH_SECONDS
    assert (program / "main.py").exists()
    transfers.close()
    until(lambda: len(ends) == PARALLEL_MAX + 1)


def test_closing_ends_a_transfer_under_way(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    transfers, ends = Transfers(), []
    transfers.save(f"file://{tmp_path}/target", fifo, "", ends.append)
    until(lambda: transfers._children)
    transfers.close()
    assert len(ends) == 1
    assert ends[0]


def test_an_archive_that_the_server_does_not_have_is_not_there_and_no_credentials_are_shown(runner, server):
    uri = server.replace("//", "//me:hush@") + "/missing.zip?signature=hush"
    with pytest.raises(SubmitError) as caught:
        run(runner, "true", working_directory=uri)
    words = str(caught.value)
    assert caught.value.kind == "NoSource"
    assert f"{server}/missing.zip" in words
    assert "correct the URI" in words
    assert "hush" not in words


def test_a_server_that_is_not_reached_may_be_reached_later(runner):
    with pytest.raises(SubmitError) as caught:
        run(runner, "true", working_directory="http://127.0.0.1:1/program.zip")
    assert caught.value.kind == "NotFetched"


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (FileNotFoundError("x"), True),
        (PermissionError("x"), True),
        (urllib.error.HTTPError("u", 403, "Forbidden", None, None), True),
        (urllib.error.HTTPError("u", 429, "Too Many Requests", None, None), False),
        (urllib.error.HTTPError("u", 503, "Unavailable", None, None), False),
        (ConnectionResetError("x"), False),
        (TimeoutError("x"), False),
    ],
)
def test_what_another_try_cannot_change_is_final(error, is_final):
    assert transfer.is_final(error) is is_final
