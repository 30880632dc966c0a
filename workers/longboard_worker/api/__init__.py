"""The site's REST API for people and scripts, typed: look up, submit, watch, read numbers.

    site = Longboard("https://longboard.example", token=os.environ["LONGBOARD_TOKEN"])
    submission = site.submit(model="smollm2-135m", suites=["niah"], context_lengths=[1024, 4096], pools=["local-cpu"])
    for number in site.measurements(suite="niah", metric="accuracy"):
        print(number.system, number.context_length, number.value, number.ci_low, number.ci_high)

Reads need no token. Every call has a time limit; reads are repeated after a lost connection, a 5xx or a 429, as long as the
site asks for; a submission is sent again only under its idempotency key, so that it cannot be made twice.
What the site refuses is raised as `longboard_worker.api.calls.ApiError`.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from longboard_worker.api.answers import Board, ModelLine, Number, PoolLine, Report, Run, Submission, SuiteLine
from longboard_worker.api.calls import call

PIECE_BYTES = 4 * 2**20  # the site takes 8 MiB


class Longboard:
    """One site, as one person. The token travels in a header, never in an address."""

    def __init__(self, site: str, *, token: str = "") -> None:
        self.base = site.rstrip("/") + "/api/v1"
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "longboard-client"
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def models(self) -> Iterator[ModelLine]:
        """Every registered model, by slug."""
        after = ""
        while True:
            page = [ModelLine.model_validate(line) for line in self._call("GET", "/models", query={"after": after})]
            yield from page
            if len(page) < 100:
                return
            after = page[-1].slug

    def suites(self) -> list[SuiteLine]:
        return [SuiteLine.model_validate(line) for line in self._call("GET", "/suites")]

    def pools(self) -> list[PoolLine]:
        return [PoolLine.model_validate(line) for line in self._call("GET", "/pools")]

    def submit(
        self,
        *,
        model: str,
        suites: Sequence[str],
        context_lengths: Sequence[int] = (),
        pools: Sequence[str],
        idempotency_key: str = "",
        **more: Any,
    ) -> Submission:
        """Submits a System; `more` are further fields of the request (method, budget, dtype, tasks, samples, seed, note).

        An architecture (`lra-s4d`, with `configuration={"causal": True, "states": 32}`) needs no context lengths: its tasks have
        theirs.
        """
        body = {
            "model": model,
            "suites": list(suites),
            "context_lengths": list(context_lengths),
            "pools": list(pools),
            "idempotency_key": idempotency_key or uuid.uuid4().hex,
            **more,
        }
        return Submission.model_validate(self._call("POST", "/submissions", body=body))

    def submission(self, submission: uuid.UUID | str) -> Submission:
        return Submission.model_validate(self._call("GET", f"/submissions/{submission}"))

    def run(self, run: uuid.UUID | str) -> Run:
        return Run.model_validate(self._call("GET", f"/runs/{run}"))

    def wait(self, submission: uuid.UUID | str, *, every_s: float = 5.0, most_s: float = 86_400.0) -> Submission:
        """Asks until every run has ended. Raises TimeoutError after `most_s`."""
        end = time.monotonic() + most_s
        while not (found := self.submission(submission)).is_final:
            if time.monotonic() + every_s > end:
                raise TimeoutError(f"Submission {submission} is {found.state} after {most_s:g} s.")
            time.sleep(every_s)
        return found

    def measurements(self, **filters: str | int) -> Iterator[Number]:
        """Every published number that fits, oldest first: filters are suite, metric, system, hardware, context_length."""
        cursor = ""
        while True:
            page = self._call("GET", "/measurements", query={**filters, "cursor": cursor})
            yield from (Number.model_validate(item) for item in page["items"])
            if not page["next"]:
                return
            cursor = page["next"]

    def report(
        self,
        *,
        model: str,
        hardware: str,
        source: str,
        numbers: Sequence[Mapping[str, Any]],
        idempotency_key: str = "",
        **more: Any,
    ) -> Report:
        """Posts self-reported results of a System of yours; a token of the scope `report` is enough.

        Each number has suite, task, metric, context_length, value, n, and either ci_low and ci_high or the samples' scores.
        `more` are further fields of the request: method, budget, dtype, note. Raises ApiError.
        """
        body = {
            "model": model,
            "hardware": hardware,
            "source": source,
            "numbers": [dict(number) for number in numbers],
            "idempotency_key": idempotency_key or uuid.uuid4().hex,
            **more,
        }
        return Report.model_validate(self._call("POST", "/reports", body=body))

    def withdraw_report(self, report: int, *, because: str = "") -> Report:
        """Takes a report's numbers off the boards; a second call changes nothing."""
        return Report.model_validate(self._call("POST", f"/reports/{report}/withdraw", body={"because": because}))

    def reports(self, **filters: str) -> Iterator[Report]:
        """Every report that fits, withdrawn ones too, oldest first: filters are system and author."""
        cursor = ""
        while True:
            page = self._call("GET", "/reports", query={**filters, "cursor": cursor})
            yield from (Report.model_validate(item) for item in page["items"])
            if not page["next"]:
                return
            cursor = page["next"]

    def upload(
        self,
        files: Sequence[Path],
        *,
        title: str,
        licence: str = "",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> ModelLine:
        """Uploads a checkpoint (safetensors, config.json, the tokenizer's files) and registers its model.

        Goes up in pieces. Called again with the same files after a break, it goes on where it stopped. `on_progress` hears
        (bytes sent, bytes in all). Raises ApiError with the file at fault in `field`.
        """
        body = {
            "title": title,
            "licence": licence,
            "files": [{"name": p.name, "size": p.stat().st_size, "sha256": _digest_of(p)} for p in files],
        }
        upload = self._call("POST", "/checkpoints", body=body)
        known = {file["name"]: file["next_offset"] for file in upload["files"]}
        sent, total = sum(known.values()), sum(p.stat().st_size for p in files)
        for path in files:
            for offset, piece in _pieces_of(path, known[path.name]):
                query = {"offset": offset, "sha256": hashlib.sha256(piece).hexdigest()}
                self._call("PUT", f"/checkpoints/{upload['id']}/files/{path.name}", query=query, content=piece)
                sent += len(piece)
                if on_progress:
                    on_progress(sent, total)
        return ModelLine.model_validate(self._call("POST", f"/checkpoints/{upload['id']}/complete"))

    def board(
        self,
        suite: str,
        *,
        context_length: int,
        hardware: str,
        task: str = "",
        cost_metric: str = "ttft_ms",
        trust: str = "",
    ) -> Board:
        """The front of one suite at one length on one hardware. `task="all"`: the mean over the suite.

        `trust="self-reported"`: with numbers that nobody but their author has measured; each row says what it is.
        """
        query = {"context_length": context_length, "hardware": hardware, "task": task, "cost_metric": cost_metric}
        query["trust"] = trust
        return Board.model_validate(self._call("GET", f"/boards/{suite}", query=query))

    def _call(
        self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None, content: bytes = b""
    ) -> Any:
        """As `calls.call`, with this site's address and this person's token."""
        return call(self.session, self.base, method, path, query=query, body=body, content=content)


def _pieces_of(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """(place, bytes) of a file from `offset` on."""
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(PIECE_BYTES):
            yield offset, piece
            offset += len(piece)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
