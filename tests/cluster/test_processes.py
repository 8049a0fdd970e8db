"""The processes of the cluster, as its commands see them."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from tests.cluster.local.processes import started_at
from tests.e2e.waiting import wait_until

# The first thread ends (exit(2), not exit_group(2)) and leaves another that waits for the end of its input.
_FIRST_THREAD_ENDS = """
import ctypes, os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
ctypes.CDLL(None).syscall({"aarch64": 93, "x86_64": 60}[os.uname().machine], 0)
"""


def test_a_process_is_there_until_its_last_thread_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", _FIRST_THREAD_ENDS], stdin=subprocess.PIPE) as process:
        began = started_at(process.pid)
        assert began is not None
        stat = pathlib.Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z", 10,
                   "the first thread has ended")
        assert started_at(process.pid) == began
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: started_at(process.pid) is None, 10, "the process has ended")
