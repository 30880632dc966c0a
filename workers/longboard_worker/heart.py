"""The beats of one Run, in a thread of the node's process: a slow site never delays the evaluator's limits.

The evaluator is another process, so however busy it is, it cannot starve its beats.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import datetime

from longboard_tasks.contract import Ticket
from longboard_worker.client import Refused, SiteClient, Unreachable
from longboard_worker.evaluator import Evaluator
from longboard_worker.logbuffer import LogText

log = logging.getLogger(__name__)

ORDERS_S = 8.0  # between two questions for cancel and drain: a cancelled GPU is free within half a minute
NEWS_S = 5.0  # a beat comes early when there is new text or progress, but no more often than this


class Heart:
    """Beats every `ticket.beat_s`, asks for orders in between, and keeps what came back for the node to act on."""

    def __init__(self, site: SiteClient, ticket: Ticket, evaluator: Evaluator) -> None:
        self.site, self.ticket, self.evaluator = site, ticket, evaluator
        self.lease_until: datetime = ticket.lease_until
        self.cancel = self.drain = False
        self.is_silent = False  # the last call did not reach the site
        self.refusal: Refused | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> LogText:
        """Ends the beats; the log text that none of them carried."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join(10)
            return self.evaluator.log.take(is_last=True)
        return LogText("", 0)

    def _work(self) -> None:
        beat_s = self.ticket.beat_s
        news_s, orders_s = min(NEWS_S, beat_s), min(ORDERS_S, beat_s)
        began = last_beat = last_orders = time.monotonic()
        has_beaten, shown = False, None
        while not self._ended.wait(0.1):
            now = time.monotonic()
            # An early first one: progress shows at once.
            due = beat_s if has_beaten else min(1.0, beat_s)
            progress = self.evaluator.progress()
            has_news = progress != shown or self.evaluator.log.has_news()
            if now - last_beat >= due or (has_news and now - began > 1 and now - last_beat >= news_s):
                has_beaten, shown = True, progress
                self._call(is_beat=True)
                last_beat = last_orders = time.monotonic() - random.uniform(0, 0.1) * beat_s
            elif now - last_orders >= orders_s:
                self._call(is_beat=False)
                last_orders = time.monotonic()
            if self.refusal is not None:
                return

    def _call(self, *, is_beat: bool) -> None:
        text = self.evaluator.log.take() if is_beat else LogText("", 0)
        try:
            progress = self.evaluator.progress()
            reply = self.site.beat(self.ticket, progress, text) if is_beat else self.site.orders(self.ticket)
        except Refused as refused:
            self.refusal = refused
            return
        except Unreachable as error:
            self.evaluator.log.give_back(text)
            self.is_silent = True
            log.warning("no answer to a beat: %s", error)
            return
        self.is_silent = False
        self.lease_until = reply.lease_until
        self.cancel, self.drain = self.cancel or reply.cancel, self.drain or reply.drain
