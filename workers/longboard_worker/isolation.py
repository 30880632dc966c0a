"""What the evaluator's process takes from itself before it touches a model: network, core dumps, room on disk.

Called first thing in the process, while it has one thread: the kernel gives a new user namespace to nobody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any, Literal

NEW_USER, NEW_NET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
OPEN_FILES = 4_096

Network = Literal["cut", "refused"]


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends (Linux). Elsewhere the closed stdin tells."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call
            os._exit(3)


def limit_resources(disk_bytes: int) -> None:
    """No core dumps, no file above `disk_bytes`, no new privileges; the kernel's out-of-memory killer comes here first."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if disk_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk_bytes, disk_bytes))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("800")


def cut_network() -> Network:
    """Leaves the machine's network for an empty one of its own where the kernel allows it; else refuses in Python.

    `cut`: a network namespace without any interface; native code cannot get out either. `refused`: an audit hook, which
    cannot be taken off again, raises for every connection that Python opens; native code could still open one.
    """
    sys.addaudithook(_refuse_sockets)
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    return "cut" if sys.platform == "linux" and _enter_empty_network() else "refused"


def _enter_empty_network() -> bool:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NET) == 0:  # root, or the capability
        return True
    if libc.unshare(NEW_USER | NEW_NET) != 0:
        return False
    # The same ids inside as outside, so that files keep their owner.
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def _refuse_sockets(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        raise PermissionError("The evaluator has no network: everything it needs was fetched before it started.")
