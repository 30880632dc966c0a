"""One node's work: claim, start, evaluate while beating, hand in. The same code behind Celery and behind HTTPS polling."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from longboard_tasks.contract import ResultBundle, SignedBundle, Ticket
from longboard_worker.client import FencedOff, Refused, SiteClient, Unreachable
from longboard_worker.evaluator import Evaluator, Failure
from longboard_worker.identity import Enrolment, load_enrolment, load_key, sign

log = logging.getLogger(__name__)

POLL_S = 0.1
LEAST_FREE_BYTES = 500_000_000


class Node:
    """A registered machine at work. `work_once` does one Run from claim to result."""

    def __init__(self, home: Path, models_dir: Path | None = None) -> None:
        self.home = home
        self.enrolment: Enrolment = load_enrolment(home)
        self.key = load_key(home)
        self.site = SiteClient(self.enrolment.site, self.enrolment.token)
        self.models_dir = models_dir or home / "models"
        self.is_draining = False
        self.outbox = home / "outbox"
        self.outbox.mkdir(parents=True, exist_ok=True, mode=0o700)

    def work_once(self, hint: str | None = None) -> bool:
        """Takes one Run if there is one and sees it through. False: there was nothing to do.

        Raises Unreachable when the site does not answer the claim; whatever happens after a claim is reported, or left to
        the lease's end.
        """
        self.flush_outbox()
        free = shutil.disk_usage(self.home).free
        if free < LEAST_FREE_BYTES:
            log.error("disk is full, no run is claimed", extra={"free_bytes": free})
            return False
        ticket = self.site.claim(hint)
        if ticket is None:
            return False
        log.info("run claimed", extra={"run": ticket.run.run_id, "attempt": ticket.attempt_id})
        work_dir = self.home / "work" / ticket.attempt_id
        try:
            self.site.start(ticket)  # must succeed before the evaluator starts
            self._deliver(ticket, *self._evaluate(ticket, work_dir))
        except FencedOff as fenced:
            log.warning("fenced off", extra={"run": ticket.run.run_id, "why": fenced.message})
        except (Unreachable, Refused) as error:
            log.error("run left to its lease", extra={"run": ticket.run.run_id, "why": str(error)})
        finally:
            shutil.rmtree(work_dir, ignore_errors=True)
        return True

    def _evaluate(self, ticket: Ticket, work_dir: Path) -> tuple[ResultBundle | Failure, str]:
        """The outcome and the log text not yet delivered. The child is ended on every way out of here."""
        evaluator = Evaluator(ticket, work_dir, self.models_dir)
        try:
            lease_until = ticket.lease_until
            next_beat = time.monotonic() + min(1.0, ticket.beat_s)  # an early first one: progress shows at once
            while evaluator.is_running():
                time.sleep(POLL_S)
                if time.monotonic() < next_beat:
                    continue
                next_beat = time.monotonic() + ticket.beat_s
                text = evaluator.take_log()
                try:
                    reply = self.site.beat(ticket, evaluator.progress(), text)
                except Unreachable as error:
                    evaluator.give_back_log(text)
                    log.warning("beat not delivered", extra={"run": ticket.run.run_id, "why": str(error)})
                    if datetime.now(UTC) > lease_until:
                        evaluator.stop(Failure("lost", "The site could not be reached until the lease ended."))
                    continue
                lease_until = reply.lease_until
                self.is_draining = self.is_draining or reply.drain
                if reply.cancel:
                    evaluator.stop(Failure("cancelled", "Cancelled while it ran."))
            return evaluator.outcome(), evaluator.take_log()
        finally:
            if evaluator.process.poll() is None:
                evaluator.stop(Failure("node_error", "The node gave the run up."))

    def _deliver(self, ticket: Ticket, outcome: ResultBundle | Failure, log_text: str) -> None:
        if isinstance(outcome, Failure):
            log.warning("run failed", extra={"run": ticket.run.run_id, "as": outcome.failure_class})
            self.site.fail(ticket, outcome.failure_class, outcome.message, log_text)
            return
        with contextlib.suppress(Unreachable):  # the last log lines are worth a call, not a result
            self.site.beat(ticket, None, log_text)
        path = self.outbox / f"{ticket.attempt_id}.{ticket.fence}.json"
        partial = path.with_suffix(".part")
        partial.write_text(sign(outcome, self.key).model_dump_json())
        partial.replace(path)
        self._send(path, patience_s=60)

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
            log.warning("bundle stays in the outbox", extra={"attempt": attempt_id, "why": str(error)})
            return
        except Refused as refused:
            log.error("bundle refused", extra={"attempt": attempt_id, "why": refused.message})
            path.replace(path.with_suffix(".refused"))
            return
        log.info(
            "bundle handed in", extra={"attempt": attempt_id, "state": answer["state"], "reason": answer["reason"]}
        )
        path.unlink()
