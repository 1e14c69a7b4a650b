"""Real drivers on a real head: they run, fail, are stopped, are found and lost; nothing of them stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.polling import until

from shoal.core.jobs import JobTable
from shoal.jobs.package_store import PackageStore
from shoal.jobs.runner import JobHooks, JobRunner
from shoal.jobs.submission import SubmitError
from shoal.protocol import head_pb2

SUCCEEDED, FAILED = head_pb2.JOB_STATE_SUCCEEDED, head_pb2.JOB_STATE_FAILED
STOPPED, RUNNING = head_pb2.JOB_STATE_STOPPED, head_pb2.JOB_STATE_RUNNING


class Jobs:
    def __init__(self, directory):
        self.directory = directory
        self.echoed = bytearray()
        self.ended = []
        self.runner = JobRunner(
            directory,
            str(directory / "node.sock"),
            PackageStore(directory / "head"),
            JobHooks(lambda urgent: None, self.ended.append),
            self.echoed.extend,
        )

    def submit(self, entrypoint, submission_id="j1", **fields):
        request = head_pb2.SubmitJobRequest(submission_id=submission_id, entrypoint=entrypoint, **fields)
        return self.runner.submit(request)

    def finished(self, submission_id="j1", seconds=10.0):
        def done():
            job = self.runner.snapshot(submission_id)
            return job if job.state in (SUCCEEDED, FAILED, STOPPED) else None

        return until(done, seconds)

    def output(self, submission_id="j1"):
        return self.runner.log_path(submission_id).read_text()


@pytest.fixture
def jobs(tmp_path):
    jobs = Jobs(tmp_path)
    yield jobs
    jobs.runner.close()


def test_a_job_runs_and_its_output_is_kept_and_echoed(jobs):
    jobs.submit("echo hello; echo trouble >&2")
    job = jobs.finished()
    assert (job.state, job.reason, job.exit_code, job.has_exit_code) == (SUCCEEDED, "EntrypointSucceeded", 0, True)
    assert 0 < job.start_time_seconds <= job.end_time_seconds
    assert sorted(jobs.output().split()) == ["hello", "trouble"] == sorted(job.output_tail.split())
    assert b"hello\n" in jobs.echoed
    assert len(jobs.ended) == 1


@pytest.mark.parametrize(
    ("entrypoint", "code", "reason", "words"),
    [
        ("exit 3", 3, "EntrypointFailed", "exit code 3"),
        ("no-such-program --x", 127, "EntrypointNotFound", "not found"),
        ("kill -SEGV $$", 139, "EntrypointFailed", "signal 11"),
    ],
)
def test_failures_say_what_happened(jobs, entrypoint, code, reason, words):
    jobs.submit(entrypoint)
    job = jobs.finished()
    assert (job.state, job.exit_code, job.reason) == (FAILED, code, reason)
    assert words in job.message


def test_a_python_traceback_is_in_the_tail(jobs):
    jobs.submit("python -c 'raise KeyError(42)'")
    job = jobs.finished()
    assert job.state == FAILED
    assert "KeyError: 42" in job.output_tail


def test_python_is_the_one_that_runs_the_head(jobs):
    jobs.submit("python -c 'import sys; print(sys.prefix)'")
    jobs.finished()
    assert jobs.output().strip() == sys.prefix


def test_a_second_submission_changes_nothing(jobs):
    first, created = jobs.submit("echo once")
    again, created_again = jobs.submit("echo twice")
    assert (created, created_again) == (True, False)
    assert first.submission_id == again.submission_id == "j1"
    jobs.finished()
    assert jobs.output() == "once\n"
    assert jobs.submit("echo thrice")[0].state == SUCCEEDED


def test_the_driver_knows_its_job_and_node(jobs):
    jobs.submit("env", environment={"COLOUR": "blue"})
    jobs.finished()
    variables = dict(line.split("=", 1) for line in jobs.output().splitlines() if "=" in line)
    assert variables["SHOAL_NODE_SOCKET"] == str(jobs.directory / "node.sock")
    assert variables["SHOAL_SESSION_DIR"] == str(jobs.directory)
    assert variables["COLOUR"] == "blue"
    assert len(variables["SHOAL_JOB_ID"]) == 8
    assert variables["SHOAL_JOB_PACKAGE"] == ""


def test_a_directory_is_copied_or_used_in_place(jobs, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "data.txt").write_text("42\n")
    jobs.submit("cat data.txt; pwd; touch made", "copy", working_directory=str(source))
    jobs.finished("copy")
    assert jobs.output("copy").split() == ["42", str(tmp_path / "jobs/copy/work")]
    assert not (source / "made").exists()
    jobs.submit("pwd; touch made; echo $SHOAL_JOB_PACKAGE", "here", working_directory=str(source), run_in_place=True)
    jobs.finished("here")
    where, package = jobs.output("here").split()
    assert where == str(source)
    assert (source / "made").exists()
    assert PackageStore(tmp_path / "head").get(package)


def test_what_cannot_be_submitted(jobs, tmp_path):
    for fields, words in (
        ({"entrypoint": " "}, "no entrypoint"),
        ({"entrypoint": "true", "submission_id": "../x"}, "submission id"),
        ({"entrypoint": "true", "working_directory": str(tmp_path / "nowhere")}, "not a directory"),
        (
            {"entrypoint": "true", "resources": head_pb2.Resources(amounts={"CPU": -1})},
            "resources: resource 'CPU' must not be negative",
        ),
    ):
        with pytest.raises(SubmitError, match=words):
            jobs.submit(**fields)
    assert jobs.runner.snapshots() == []


def test_stopping_ends_the_whole_group(jobs):
    jobs.submit("sleep 1000 & sleep 1000 & echo up; wait")
    until(lambda: jobs.runner.snapshot("j1").output_tail == "up\n")
    assert jobs.runner.stop("j1", "ClusterGone")
    job = jobs.finished()
    assert (job.state, job.reason) == (STOPPED, "ClusterGone")


def test_a_driver_that_ignores_sigterm_is_killed(tmp_path):
    jobs = Jobs(tmp_path)
    jobs.submit("trap '' TERM; echo up; while :; do sleep 0.1; done")
    until(lambda: jobs.runner.snapshot("j1").output_tail == "up\n")
    began = time.monotonic()
    jobs.runner.close()
    assert 2.5 < time.monotonic() - began < 8
    assert jobs.finished().exit_code == 137


def test_a_stop_before_the_start_is_not_lost(jobs):
    jobs.submit("sleep 1000")
    jobs.runner.stop("j1", "")
    job = jobs.finished()
    assert (job.state, job.reason) == (STOPPED, "StoppedByRequest")


def test_what_an_entrypoint_leaves_behind_goes_with_it(jobs):
    jobs.submit("setsid sleep 1000 & sleep 1001 & echo $!; sleep 0.1; ps -o pid= --ppid 1")
    jobs.finished()
    assert os.path.exists("/proc/self")  # the leak check of every test finds a sleeper that stayed


def test_kill_9_of_the_launcher_takes_the_driver_and_its_group_along(jobs):
    jobs.submit("echo $$; sleep 1000 & sleep 1000")
    driver = int(until(lambda: jobs.runner.snapshot("j1").output_tail))
    launcher = int(Path(f"/proc/{driver}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(launcher, signal.SIGKILL)
    job = jobs.finished()
    assert (job.state, job.exit_code) == (FAILED, 137)


def test_what_forgotten_jobs_left_on_the_disk_goes(jobs):
    jobs.runner._table = JobTable(max_terminal=2)
    for number in range(5):
        jobs.submit("echo output", f"j{number}")
        jobs.finished(f"j{number}")
    until(lambda: len(list((jobs.directory / "jobs").iterdir())) == 2)
    assert jobs.runner.snapshot("j0") is None
    assert jobs.output("j4") == "output\n"


def test_a_vanished_directory_fails_the_job_with_words(jobs, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    source.chmod(0o000)
    try:
        if os.access(source, os.R_OK):
            pytest.skip("root reads everything")
        with pytest.raises(SubmitError, match="cannot be read"):
            jobs.submit("true", working_directory=str(source))
    finally:
        source.chmod(0o700)


HEAD_PROCESS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from shoal.jobs.runner import JobHooks, JobRunner
from shoal.jobs.package_store import PackageStore
from shoal.protocol import head_pb2
directory = Path(sys.argv[1])
runner = JobRunner(directory, "", PackageStore(directory / "head"), JobHooks(lambda urgent: None, lambda job: None))
runner.submit(head_pb2.SubmitJobRequest(submission_id="j", entrypoint=sys.argv[3]))
time.sleep(1000)
"""
LEAVES = "echo $$ > pids; setsid sleep 1000 & echo $! >> pids; sleep 1000 & echo $! >> pids; wait"


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_kill_9_of_the_head_kills_drivers_and_all_they_started(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HEAD_PROCESS, str(tmp_path), "runtime", LEAVES])
    try:
        pids_file = tmp_path / "jobs/j/work/pids"
        until(lambda: pids_file.exists() and len(pids_file.read_text().split()) == 3, seconds=30)
        pids = [int(pid) for pid in pids_file.read_text().split()]
        assert all(running(pid) for pid in pids)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: not any(running(pid) for pid in pids), seconds=10)


def test_what_a_shell_started_has_the_grace_although_the_shell_goes_at_once(jobs):
    """A shell that does not replace itself by its only command dies of SIGTERM before that command has ended."""
    program = "import signal, sys, time\n"
    program += "def end(*_):\n    time.sleep(0.3)\n    print('said goodbye', flush=True)\n    sys.exit(0)\n"
    program += "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    (jobs.directory / "main.py").write_text(program)
    jobs.submit(f"true; {sys.executable} {jobs.directory}/main.py; true")
    until(lambda: "ready" in jobs.runner.snapshot("j1").output_tail)
    jobs.runner.stop("j1", "Suspended", 20.0)
    began = time.monotonic()
    job = jobs.finished()
    assert (job.state, job.reason) == (STOPPED, "Suspended")
    assert "said goodbye" in job.output_tail
    assert time.monotonic() - began < 5.0


def test_what_a_shell_started_is_killed_when_the_grace_is_over(jobs):
    jobs.submit(
        f"true; {sys.executable} -c 'import signal, time; signal.signal(15, signal.SIG_IGN); "
        "print(1, flush=True); time.sleep(600)'; true"
    )
    until(lambda: "1" in jobs.runner.snapshot("j1").output_tail)
    jobs.runner.stop("j1", "Suspended", 0.5)
    assert jobs.finished(seconds=5.0).state == STOPPED
