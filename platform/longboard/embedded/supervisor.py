"""One site on one machine: web server, the platform's Celery with its beat, and one worker node, started and ended together."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from longboard.logs import FieldFormatter
from longboard_tasks.contract import HardwareReport

STOP_GRACE_S = 8.0


class StartFailed(Exception):
    """A part of the site did not come up; the message names it and its log."""


@dataclass(slots=True)
class Supervisor:
    """Starts child processes, each with a log file, and ends them all in reverse order, whatever happens."""

    log_dir: Path
    environment: dict[str, str]
    children: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(
        self, name: str, command: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = (self.log_dir / f"{name}.log").open("ab")
        process = subprocess.Popen(  # noqa: S603 (our own commands, no shell)
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self.environment | dict(environment or {}),
            start_new_session=True,  # a Ctrl-C reaches us alone, and we end them in order
        )
        log.close()
        self.children.append((name, process))
        return process

    def log_here(self, name: str) -> None:
        """From here on this process logs to a file beside its children's, and no longer to the terminal."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(self.log_dir / f"{name}.log")
        handler.setFormatter(FieldFormatter())
        logging.getLogger().handlers[:] = [handler]

    def check(self) -> None:
        """Raises StartFailed once any child has ended."""
        for name, process in self.children:
            if (code := process.poll()) is not None:
                raise StartFailed(f"{name} ended with code {code}. Its log: {self.log_dir / f'{name}.log'}")

    def wait_for(self, what: str, ready: Callable[[], bool], *, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise StartFailed(f"{what} was not ready within {timeout_s:g} s. Logs: {self.log_dir}")
            time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM to each main process (a prefork group would hang on a group signal), then SIGKILL to its group."""
        for _, process in reversed(self.children):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_GRACE_S
        for _, process in reversed(self.children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.children.clear()


def free_port(preferred: int) -> int:
    """`preferred` if nothing listens there, else a port that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise StartFailed("No free port on 127.0.0.1.")


def worker_command(*words: str) -> list[str]:
    """The node's command line, run by module: the script may not be on the PATH of a service."""
    return [sys.executable, "-m", "longboard_worker.cli", *words]


def read_hardware_report() -> HardwareReport:
    """This machine as its node sees it. A process of its own, because the platform never imports torch."""
    done = subprocess.run(worker_command("report"), capture_output=True, timeout=120, check=False)  # noqa: S603 (our own command)
    if done.returncode != 0:
        raise StartFailed(f"The worker package does not run here: {done.stderr.decode()[-500:]}")
    return HardwareReport.model_validate(json.loads(done.stdout)["hardware"])


def site_environment(port: int) -> dict[str, str]:
    """The environment of every child: the same data folder and site address. Sources on the path when not installed."""
    sources = os.pathsep.join(str(settings.REPOSITORY / root) for root in ("platform", "workers", "tasks", "kernels"))
    path = os.pathsep.join(filter(None, [sources, os.environ.get("PYTHONPATH", "")]))
    return dict(os.environ) | {
        "PYTHONPATH": path,
        "DJANGO_SETTINGS_MODULE": "longboard.settings",
        "LONGBOARD_DATA_DIR": str(settings.DATA_DIR),
        "LONGBOARD_SITE_URL": f"http://127.0.0.1:{port}",
        "LONGBOARD_BROKER_URL": settings.CELERY_BROKER_URL,
        "LONGBOARD_BROKER_DIR": str(settings.BROKER_DIR),
    }


def start_web(supervisor: Supervisor, port: int) -> None:
    supervisor.start(
        "web",
        [sys.executable, "-m", "gunicorn", "longboard.wsgi", "--bind", f"127.0.0.1:{port}"]
        + ["--worker-class", "gthread", "--workers", "1", "--threads", "8", "--timeout", "60"],
    )
    supervisor.wait_for("The web server", lambda: _answers(port), timeout_s=60)


def start_platform_celery(supervisor: Supervisor) -> None:
    supervisor.start(
        "sweep",
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "longboard.celery_app",
            "worker",
            "--beat",
            "-P",
            "solo",
            "-Q",
            "platform",
        ]
        + ["-n", "platform@%h", "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"],
    )


def start_node(supervisor: Supervisor, home: Path, models_dir: Path) -> None:
    supervisor.start(
        "node", worker_command("--home", str(home), "start"), environment={"LONGBOARD_MODELS_DIR": str(models_dir)}
    )


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
