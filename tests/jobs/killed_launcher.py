"""Run as a driver's launcher: the real one, killed with SIGKILL at a given step.

A step is a line of it that is executed for the first time from where it is called. ``SHOAL_TEST_KILL`` says
``launcher 17``: the launcher ends before its 17th step; ``child 3``: the process that is about to become the
entrypoint kills the launcher before its own third step; ``child exec``: before it becomes the entrypoint. Once there
is such a process, a launcher ends only after that has got as far as it can: ``SHOAL_TEST_RAN`` is a file that the
entrypoint makes. How many steps each has made by its end is written to ``SHOAL_TEST_STEPS``, one line a process.
``SHOAL_TEST_SHELL`` is executed instead of the shell.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

LAUNCHER = Path(os.environ["SHOAL_TEST_LAUNCHER"])
RAN = Path(os.environ["SHOAL_TEST_RAN"])
STEPS = os.environ["SHOAL_TEST_STEPS"]
OWN_PID = os.getpid()
VICTIM, _, NUMBER = os.environ.get("SHOAL_TEST_KILL", "nobody 0").partition(" ")
steps = set()


def who():
    return "launcher" if os.getpid() == OWN_PID else "child"


def note():
    with open(STEPS, "a") as file:
        file.write(f"{who()} {len(steps)}\n")


def end_launcher_at(step):
    if (who(), step) != (VICTIM, NUMBER):
        return
    if VICTIM == "launcher":
        deadline = time.monotonic() + 10
        children = Path(f"/proc/self/task/{OWN_PID}/children")
        while children.read_text() and not RAN.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
    os.kill(OWN_PID, signal.SIGKILL)
    while os.getppid() == OWN_PID:
        time.sleep(0.001)


def trace(frame, event, _argument):
    if frame.f_code.co_filename != str(LAUNCHER):
        return None
    step = (frame.f_lineno, frame.f_back.f_lineno)
    if event == "line" and frame.f_code.co_name != "<module>" and step not in steps:
        steps.add(step)
        end_launcher_at(str(len(steps)))
    return trace


def noted_exec(path, arguments):
    note()
    end_launcher_at("exec")
    real_exec(os.environ.get("SHOAL_TEST_SHELL", path), arguments)


real_exec, os.execv = os.execv, noted_exec
os.register_at_fork(after_in_child=steps.clear)
sys.settrace(trace)
try:
    runpy.run_path(str(LAUNCHER), run_name="__main__")
finally:
    sys.settrace(None)
    note()
