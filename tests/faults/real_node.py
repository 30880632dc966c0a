"""A node in real processes: its home folder, its worker and evaluators; and the protocol as a test speaks it for the node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.signing import REPORT, make_bundle, sign_bundle

from longboard_tasks.contract import Ticket
from longboard_worker.client import SiteClient
from longboard_worker.identity import Enrolment, load_enrolment, load_key, public_hex, save_enrolment
from longboard_worker.tickets import TicketBook

ROOT = Path(__file__).resolve().parents[2]


class RealNode:
    """A node's home folder, and its processes. Enrolled over HTTP by the test, because loading torch for it takes seconds."""

    def __init__(self, home: Path, *, site_url: str, redis_url: str, models_dir: Path, secrets: set[str]) -> None:
        """`secrets` is the site's own set: the node's token joins it."""
        self.home, self.models_dir, self.secrets = home, models_dir, secrets
        self.site_url, self.redis_url = site_url, redis_url
        home.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None

    def enrol(self, code: str, name: str) -> None:
        key = load_key(self.home)
        answer = SiteClient(self.site_url).enrol(
            code=code, name=name, public_key=public_hex(key), report=REPORT, software={}, self_test=None
        )
        self.name, self.id = name, answer["node"]
        self.secrets.add(answer["token"])
        save_enrolment(
            self.home,
            Enrolment(
                site=self.site_url, node=answer["node"], name=name, pool=answer["pool"], queue=answer["queue"],
                is_first_party=answer["is_first_party"], server_key=answer["server_key"],
            ),
        )  # fmt: skip

    def environment(self, **extra: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("LONGBOARD_", "DJANGO_", "PYTEST"))}
        path = os.pathsep.join(str(ROOT / root) for root in ("workers", "tasks", "kernels"))
        own = {"PYTHONPATH": path, "LONGBOARD_MODELS_DIR": str(self.models_dir), "OMP_NUM_THREADS": "1"}
        return clean | own | extra

    def start(self, *words: str, **extra: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "longboard_worker.cli", "--home", str(self.home), "start", *words]
        with (self.home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment(**extra), stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    def start_hinted(self) -> subprocess.Popen[bytes]:
        """As a first-party Celery worker on Redis."""
        return self.start(LONGBOARD_BROKER_URL=self.redis_url)

    def log(self) -> str:
        return (self.home / "node.log").read_text(errors="replace")

    def evaluators(self) -> list[int]:
        """Process ids of its evaluators, found by the folder on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if b"longboard_worker.child" in words and str(self.home).encode() in b" ".join(words):
                        found.append(int(entry.name))
        return found

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for pid in self.evaluators():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # --- the protocol, spoken by the test itself ---

    def client(self) -> SiteClient:
        return SiteClient(self.site_url, node=self.id, key=self.key())

    def key(self) -> Ed25519PrivateKey:
        return load_key(self.home)

    def take(self, client: SiteClient) -> Ticket:
        signed = client.claim()
        assert signed is not None, "there was nothing to claim"
        ticket = TicketBook(self.home).accept(signed, load_enrolment(self.home))
        client.start(ticket)
        return ticket

    def bundle(self, ticket: Ticket, **how: Any) -> Any:
        made = make_bundle(ticket.run, attempt_id=ticket.attempt_id, fence=ticket.fence, **how)
        return sign_bundle(made, self.key())
