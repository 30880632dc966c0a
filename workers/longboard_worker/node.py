"""One node's work: claim, start, evaluate while beating, hand in. The same code behind Celery and behind HTTPS polling."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.contract import ResultBundle, SignedBundle, Ticket
from longboard_worker.client import FencedOff, Refused, SiteClient, Unreachable
from longboard_worker.evaluator import Evaluator, Failure
from longboard_worker.heart import Heart
from longboard_worker.identity import Enrolment, load_enrolment, load_key, save_enrolment, sign
from longboard_worker.logbuffer import LogText
from longboard_worker.tickets import TicketBook, TicketRefused
from longboard_worker.uploads import UploadBroken, fetch_upload

log = logging.getLogger(__name__)

POLL_S = 0.1
LEAST_FREE_BYTES = 500_000_000
KEPT_S = 7 * 86_400


class Node:
    """A registered machine at work. `work_once` does one Run from claim to result."""

    def __init__(self, home: Path, models_dir: Path | None = None) -> None:
        self.home = home
        self.enrolment: Enrolment = load_enrolment(home)
        self.key = load_key(home)
        self.site = SiteClient(self.enrolment.site, node=self.enrolment.node, key=self.key)
        self.tickets = TicketBook(home)
        self.models_dir = models_dir or home / "models"
        self.is_draining = False
        self.least_free_bytes = int(os.environ.get("LONGBOARD_NODE_LEAST_FREE_BYTES", LEAST_FREE_BYTES))
        self.outbox = home / "outbox"
        self.outbox.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clear_old_work()

    def work_once(self) -> bool:
        """Takes one Run if there is one and sees it through. False: there was nothing to do.

        Raises Unreachable when the site does not answer the claim; whatever happens after a claim is reported, or left to
        the lease's end.
        """
        self.flush_outbox()
        free = shutil.disk_usage(self.home).free
        if free < self.least_free_bytes:
            log.error("disk is full, no run is claimed: %d bytes free, %d needed", free, self.least_free_bytes)
            return False
        try:
            signed = self.site.claim(free_memory_bytes())
        except Refused as refused:
            if refused.code != "node_draining":
                raise
            log.info("the site asks this node to stop")
            self.is_draining = True
            return False
        if signed is None:
            return False
        if not self.enrolment.server_key:
            # Enrolled before sites signed tickets: the first key that its own address tells is pinned.
            log.warning("the site's key is pinned now: %s", self.site.server_key)
            self.enrolment = replace(self.enrolment, server_key=self.site.server_key)
            save_enrolment(self.home, self.enrolment)
        try:
            ticket = self.tickets.accept(signed, self.enrolment)
        except TicketRefused as refused:
            log.error("ticket refused: %s", refused)
            return False
        log.info("run claimed", extra={"run": ticket.run.run_id, "attempt": ticket.attempt_id})
        trains = ticket.run.suite in SUITES and SUITES[ticket.run.suite].trains
        # A training goes on from its checkpoint in a later attempt; a journal belongs to one attempt alone.
        work_dir = self.home / "work" / (ticket.run.run_id if trains else ticket.attempt_id)
        is_kept = trains  # until the site has heard how it ended
        try:
            self.site.start(ticket)  # must succeed before the evaluator starts
            try:
                fetch_upload(self.site, ticket, self.models_dir)
            except UploadBroken as broken:
                self._deliver(ticket, Failure("node_error", str(broken)), LogText("", 0))
                return True
            outcome, log_text = self._evaluate(ticket, work_dir)
            self._deliver(ticket, outcome, log_text)
            is_kept = isinstance(outcome, Failure) and outcome.failure_class == "lost"
        except FencedOff as fenced:
            log.warning("fenced off: %s", fenced.message)
        except (Unreachable, Refused) as error:
            log.error("run left to its lease: %s", error)
        finally:
            if not is_kept:
                shutil.rmtree(work_dir, ignore_errors=True)
        return True

    def _clear_old_work(self) -> None:
        """Folders that a killed node left: what nobody came back for in KEPT_S is not worth its disk."""
        for folder in (self.home / "work").glob("*"):
            if folder.stat().st_mtime < time.time() - KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)

    def _evaluate(self, ticket: Ticket, work_dir: Path) -> tuple[ResultBundle | Failure, LogText]:
        """The outcome and the log text not yet delivered. The child is ended on every way out of here."""
        evaluator = Evaluator(ticket, work_dir, self.models_dir)
        heart = Heart(self.site, ticket, evaluator)
        try:
            heart.start()
            while evaluator.is_running():
                time.sleep(POLL_S)
                if heart.refusal is not None:
                    raise heart.refusal
                self.is_draining = self.is_draining or heart.drain
                if heart.cancel:
                    evaluator.stop(Failure("cancelled", "Cancelled while it ran."))
                elif heart.is_silent and datetime.now(UTC) > heart.lease_until:
                    evaluator.stop(Failure("lost", "The site could not be reached until the lease ended."))
            return evaluator.outcome(), heart.stop()
        finally:
            heart.stop()
            if evaluator.process.poll() is None:
                evaluator.stop(Failure("node_error", "The node gave the run up."))

    def _deliver(self, ticket: Ticket, outcome: ResultBundle | Failure, log_text: LogText) -> None:
        if isinstance(outcome, Failure):
            log.warning("run failed: %s", outcome.failure_class)
            self.site.fail(ticket, outcome.failure_class, outcome.message, log_text)
            return
        with contextlib.suppress(Unreachable):  # the last log lines are worth a call, not a result
            self.site.beat(ticket, None, log_text)
        path = self.post(sign(outcome, self.key), ticket.attempt_id, ticket.fence)
        self._send(path, patience_s=60)

    def post(self, signed: SignedBundle, attempt_id: str, fence: int) -> Path:
        """Puts a signed bundle into the outbox: from there it goes to the site, now or later."""
        path = self.outbox / f"{attempt_id}.{fence}.json"
        partial = path.with_suffix(".part")
        partial.write_text(signed.model_dump_json())
        partial.replace(path)
        return path

    def flush_outbox(self) -> None:
        """Hands in what an earlier run could not: results survive a site that was down and a node that was restarted."""
        for path in sorted(self.outbox.glob("*.json"))[:100]:
            self._send(path, patience_s=2)

    def _send(self, path: Path, *, patience_s: float) -> None:
        attempt_id, fence, _ = path.name.split(".")
        signed = SignedBundle.model_validate_json(path.read_text())
        try:
            answer = self.site.hand_in(attempt_id=attempt_id, fence=int(fence), signed=signed, patience_s=patience_s)
        except Unreachable as error:
            log.warning("bundle stays in the outbox: %s", error)
            return
        except Refused as refused:
            log.error("bundle refused: %s", refused.message)
            path.replace(path.with_suffix(".refused"))
            return
        log.info("bundle handed in: %s %s", answer["state"], answer["reason"])
        # The site's signed receipt: with it the owner can show later what was handed in, and when.
        with (self.home / "receipts.jsonl").open("a") as receipts:
            receipts.write(json.dumps(answer) + "\n")
        path.unlink()


def free_memory_bytes() -> int:
    """What a run could take here: free memory of the accelerator where NVML sees one, else the machine's."""
    with contextlib.suppress(Exception):  # NVML raises its own classes; without it this is a CPU node
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).free)
    return int(psutil.virtual_memory().available)
