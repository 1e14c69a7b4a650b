"""The first code of every process that Shoal starts: ties it to its parent, then becomes the command.

Run as ``python -I -S _launch.py ORDER COMMAND...`` so that it starts in milliseconds; it imports nothing of
Shoal. ORDER is JSON: ``parent`` (pid), ``death_signal``, ``error_fd``, and optionally ``directory``,
``limits`` (``{"NOFILE": [soft, hard]}``), ``oom_score_adj``, ``keep`` (descriptors beside 0-2).

Invariant: the command never runs when the parent is gone already, and the parent learns through ``error_fd``
why a command could not run: the descriptor closes silently on success, otherwise it carries
``{"errno": ..., "step": ...}``.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
FAILED_TO_START = 128


def close_all_but(kept: "set[int]") -> None:
    """Close what the parent happened to have inheritable: a container must not hold it open."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            # The descriptor of the listing itself is closed by now.
            with contextlib.suppress(OSError):
                os.close(int(name))


def main() -> None:
    """Carry out the order in ``argv[1]`` and exec ``argv[2:]``."""
    order = json.loads(sys.argv[1])
    command = sys.argv[2:]
    step = "session"
    try:
        os.setsid()
        step = "parent"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, order["death_signal"], 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != order["parent"]:
            os._exit(FAILED_TO_START)
        step = "descriptors"
        close_all_but({0, 1, 2, order["error_fd"], *order.get("keep", [])})
        step = "limits"
        for name, (soft, hard) in order.get("limits", {}).items():
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (soft, hard))
        adjustment = order.get("oom_score_adj")
        if adjustment is not None:
            with open("/proc/self/oom_score_adj", "w") as score:
                score.write(str(adjustment))
        step = "directory"
        if order.get("directory"):
            os.chdir(order["directory"])
        step = "exec"
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.set_inheritable(order["error_fd"], False)
        os.execvpe(command[0], command, os.environ)
    except OSError as error:
        report = {"errno": error.errno, "step": step}
        os.write(order["error_fd"], json.dumps(report).encode())
    os._exit(FAILED_TO_START)


main()
