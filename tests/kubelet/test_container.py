from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal_operator.local.kubelet.container import ProcessSpec, Run, run_once, start
from shoal_operator.local.kubelet.logs import LogLimits, LogOptions, read_log
from shoal_operator.local.spawn import StartError
from shoal_operator.local.sweep import CONTAINER_MARK, carries, marked

LIMITS = LogLimits()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def spec(tmp_path: Path, *command: str, name: str = "c") -> ProcessSpec:
    return ProcessSpec(
        container_id=f"{tmp_path.name}-{name}-{os.getpid()}",
        command=command,
        environment={"PATH": os.environ["PATH"]},
        directory=tmp_path,
        log_path=tmp_path / "logs" / f"{name}.log",
    )


def shell(tmp_path: Path, script: str) -> ProcessSpec:
    return spec(tmp_path, "sh", "-c", script)


def text_of(run: Run) -> str:
    return b"".join(read_log(run.spec.log_path, LIMITS, LogOptions())).decode()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_a_container_runs_in_its_directory_and_its_output_is_kept(tmp_path: Path) -> None:
    run = await start(shell(tmp_path, "pwd; echo err >&2; printf unfinished; exit 3"), LIMITS)
    assert await run.wait() == 3
    assert sorted(text_of(run).splitlines()) == sorted([str(tmp_path), "err", "unfinished"])


async def test_it_leads_its_own_session_and_reads_nothing(tmp_path: Path) -> None:
    code = "import os,sys; print(os.getpid() == os.getpgid(0) == os.getsid(0), repr(sys.stdin.read()))"
    run = await start(spec(tmp_path, sys.executable, "-c", code), LIMITS)
    assert await run.wait() == 0
    assert text_of(run) == "True ''\n"


async def test_it_inherits_no_descriptor(tmp_path: Path) -> None:
    run = await start(spec(tmp_path, sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"), LIMITS)
    await run.wait()
    assert text_of(run) == "['0', '1', '2', '3']\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("nosuch",), 'exec: "nosuch": executable file not found in $PATH'),
        (("/nosuch/x",), 'exec: "/nosuch/x": stat /nosuch/x: no such file or directory'),
        (("/etc/passwd",), 'exec: "/etc/passwd": permission denied'),
    ],
)
async def test_a_command_that_cannot_run(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    with pytest.raises(StartError) as caught:
        await start(spec(tmp_path, *command), LIMITS)
    assert words in str(caught.value)


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    wanted = spec(tmp_path, "true")
    missing = ProcessSpec(wanted.container_id, wanted.command, wanted.environment, tmp_path / "no", wanted.log_path)
    with pytest.raises(StartError, match=r'chdir to cwd \(".*/no"\)'):
        await start(missing, LIMITS)


async def test_the_end_of_the_main_process_ends_all_that_it_left(tmp_path: Path) -> None:
    script = "setsid sleep 1000 & (setsid sh -c 'sleep 1001 & wait') & sleep 1002 & echo $!; sleep 0.2; exit 0"
    run = await start(shell(tmp_path, script), LIMITS)
    mark = run.spec.container_id
    await until(lambda: len(marked(CONTAINER_MARK, mark)) >= 5)
    assert await run.wait() == 0
    assert marked(CONTAINER_MARK, mark) == []


async def test_kill_reaches_a_descendant_that_hid(tmp_path: Path) -> None:
    script = f"env -i setsid {sys.executable} -c 'import time; print(1, flush=True); time.sleep(1000)' & echo $!; wait"
    run = await start(shell(tmp_path, script), LIMITS)
    await until(lambda: text_of(run).endswith("1\n"))
    hidden = int(text_of(run).split()[0])
    assert not carries(hidden, CONTAINER_MARK, run.spec.container_id)
    run.kill()
    assert await run.wait() == -signal.SIGKILL
    await until(lambda: gone(hidden))


async def test_terminate_lets_it_end_in_order(tmp_path: Path) -> None:
    run = await start(shell(tmp_path, "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"), LIMITS)
    await until(lambda: text_of(run) == "up\n")
    run.terminate()
    assert await run.wait() == 7
    assert text_of(run).endswith("bye\n")


async def test_the_death_of_the_owner_ends_the_container(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from shoal_operator.local.kubelet.container import ProcessSpec, start
from shoal_operator.local.kubelet.logs import LogLimits
async def main():
    spec = ProcessSpec("x", ["sleep", "1000"], {{"PATH": "/usr/bin:/bin"}}, Path("/"), Path({str(tmp_path)!r}) / "l")
    run = await start(spec, LogLimits())
    print(run.child.pid, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert not gone(pid)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    try:
        await until(lambda: gone(pid), 5)
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


async def test_a_command_beside_the_container_is_bounded(tmp_path: Path) -> None:
    assert await run_once(spec(tmp_path, "sh", "-c", "exit 4"), 5) == 4
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"timed out after 0\.2s"):
        await run_once(spec(tmp_path, "sh", "-c", "sleep 1000 & sleep 1000"), 0.2)
    assert time.monotonic() - began < 3


async def test_starting_is_quick(tmp_path: Path) -> None:
    took = []
    for number in range(5):
        began = time.monotonic()
        run = await start(spec(tmp_path, "true", name=str(number)), LIMITS)
        took.append(time.monotonic() - began)
        await run.wait()
    assert min(took) < 0.15
