"""Runs one evaluation in a child process with its own process group, and bounds its time, memory, disk and log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from longboard_tasks.contract import FailureClass, Limits, Progress, ResultBundle, Ticket
from longboard_worker.logbuffer import LogBuffer

TERM_GRACE_S = 3.0
DISK_CHECK_S = 2.0


@dataclass(frozen=True, slots=True)
class Failure:
    failure_class: FailureClass
    message: str


class Evaluator:
    """A started child. `poll` it, read its progress and new log text, then ask for its `outcome`."""

    def __init__(self, ticket: Ticket, work_dir: Path, models_dir: Path | None) -> None:
        self.limits: Limits = ticket.run.limits
        self.work_dir = work_dir
        self.stopped_for: Failure | None = None
        self.started = time.monotonic()
        self.log = LogBuffer(self.limits.log_bytes)
        self._next_disk_check = self.started + DISK_CHECK_S
        work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("bundle.json", "failure.json", "progress.json"):
            (work_dir / name).unlink(missing_ok=True)  # of an attempt that was killed here
        order = ticket.model_dump(mode="json") | {"models_dir": str(models_dir) if models_dir else ""}
        (work_dir / "ticket.json").write_text(json.dumps(order))
        # No node key, no broker address: the child gets only what an evaluation needs.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LONGBOARD_")}
        environment |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
        # Waiting threads sleep: spinning ones made a prefill on a busy 2-core machine 2.6 times slower.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.process = subprocess.Popen(  # noqa: S603 (our own module, no shell)
            [sys.executable, "-m", "longboard_worker.child", str(work_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdout is not None  # noqa: S101 (PIPE above)
        self._pipe = self.process.stdout.fileno()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def is_running(self) -> bool:
        """Whether the child still works; stops it once it is past its time, memory or disk limit."""
        if self.process.poll() is not None:
            return False
        now, limits = time.monotonic(), self.limits
        if now - self.started > limits.wall_s:
            self.stop(Failure("timeout", f"The run took longer than its limit of {limits.wall_s} s."))
        elif limits.memory_bytes and (used := self._memory()) > limits.memory_bytes:
            self.stop(Failure("oom", f"The run held {used} B of memory; its limit is {limits.memory_bytes} B."))
        elif limits.disk_bytes and now > self._next_disk_check:
            self._next_disk_check = now + DISK_CHECK_S
            if (used := self._disk()) > limits.disk_bytes:
                self.stop(Failure("disk_full", f"The run wrote {used} B; its limit is {limits.disk_bytes} B."))
        return self.process.poll() is None

    def stop(self, why: Failure) -> None:
        """Ends the whole process group: SIGTERM, then SIGKILL after a short grace."""
        self.stopped_for = self.stopped_for or why
        for sig, wait_s in ((signal.SIGTERM, TERM_GRACE_S), (signal.SIGKILL, TERM_GRACE_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sig)
                os.killpg(self.process.pid, signal.SIGCONT)  # a stopped process takes no SIGTERM
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(wait_s)
                return

    def progress(self) -> Progress | None:
        try:
            return Progress.model_validate_json((self.work_dir / "progress.json").read_text())
        except (OSError, ValueError):
            return None

    def outcome(self) -> ResultBundle | Failure:
        """What the ended child left. A result that was written whole counts even if the process died after it."""
        self._reader.join(2)
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.stopped_for is not None:
            return self.stopped_for
        with contextlib.suppress(OSError, ValueError):
            return self._with_log(ResultBundle.model_validate_json((self.work_dir / "bundle.json").read_text()))
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads((self.work_dir / "failure.json").read_text())
            return Failure(told["failure_class"], told["message"])
        code = self.process.returncode
        if code == -signal.SIGKILL:
            return Failure("oom", "The system killed the evaluation, most likely for its memory (SIGKILL).")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Failure("node_error", f"The evaluation ended without a result ({how}). Its last log lines say more.")

    def _with_log(self, bundle: ResultBundle) -> ResultBundle:
        """The bundle with the digest of everything that the child printed."""
        manifest = bundle.manifest
        if manifest.provenance is None:
            return bundle
        provenance = manifest.provenance.model_copy(update={"log_sha256": self.log.digest()})
        return bundle.model_copy(update={"manifest": manifest.model_copy(update={"provenance": provenance})})

    def _read_log(self) -> None:
        for raw in iter(lambda: os.read(self._pipe, 65_536), b""):
            self.log.add(raw)

    def _memory(self) -> int:
        total = 0
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(self.process.pid)
            for process in [parent, *parent.children(recursive=True)]:
                total += process.memory_info().rss
        return total

    def _disk(self) -> int:
        total = 0
        for path in self.work_dir.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.lstat().st_blocks * 512
        return total
