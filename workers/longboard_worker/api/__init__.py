"""The site's REST API for people and scripts, typed: look up, submit, watch, read numbers.

    site = Longboard("https://longboard.example", token=os.environ["LONGBOARD_TOKEN"])
    submission = site.submit(model="smollm2-135m", suites=["niah"], context_lengths=[1024, 4096], pools=["local-cpu"])
    for number in site.measurements(suite="niah", metric="accuracy"):
        print(number.system, number.context_length, number.value, number.ci_low, number.ci_high)

Reads need no token. Every call has a time limit; reads are repeated after a lost connection, a 5xx or a 429, as long as the
site asks for; a submission is sent again only under its idempotency key, so that it cannot be made twice.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
from pydantic import BaseModel, ConfigDict

CONNECT_S, READ_S = 5, 60
TRIES = 4
PIECE_BYTES = 4 * 2**20  # the site takes 8 MiB
LONGEST_WAIT_S = 60.0


class ApiError(Exception):
    """The site said no. `code` is stable, the message says what to do, `field` which part of the request is at fault."""

    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


class Answer(BaseModel):
    """What the site answers may grow by fields: those that this version does not know are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ModelLine(Answer):
    slug: str
    title: str
    source: str
    ref: str
    revision: str
    family: str
    parameters: int | None
    max_positions: int | None


class SuiteLine(Answer):
    name: str
    version: int
    title: str
    kind: str
    is_current: bool


class PoolLine(Answer):
    slug: str
    title: str
    hardware: str
    accepts_public_runs: bool


class Run(Answer):
    id: uuid.UUID
    system: str
    suite: str
    context_length: int
    pool: str
    state: str
    failure_class: str
    failure_message: str
    queue_place: int | None
    url: str

    @property
    def is_final(self) -> bool:
        return self.state in ("accepted", "failed", "cancelled", "rejected")


class Submission(Answer):
    id: uuid.UUID
    system: str
    model: str
    state: str
    created_at: datetime
    runs: tuple[Run, ...]
    url: str

    @property
    def is_final(self) -> bool:
        return all(run.is_final for run in self.runs)


class Number(Answer):
    """One published number with its 95 % interval, in `unit`."""

    id: int
    run: uuid.UUID
    system: str
    hardware: str
    suite: str
    task: str
    metric: str
    context_length: int
    depth: float | None
    value: float
    ci_low: float
    ci_high: float
    n: int
    unit: str
    trust: str
    measured_at: datetime | None  # by the clock of the machine that did it


class BoardRow(Answer):
    system: str
    label: str
    gain: float
    gain_low: float
    gain_high: float
    gain_n: int
    cost: float
    cost_low: float
    cost_high: float
    on_front: bool
    front_probability: float
    trust: str


class Board(Answer):
    suite: str
    task: str
    metric: str
    cost_metric: str
    context_length: int
    hardware: str
    rows: tuple[BoardRow, ...]


class ReportedNumber(Answer):
    suite: str
    task: str
    metric: str
    context_length: int
    value: float
    ci_low: float
    ci_high: float
    n: int
    unit: str


class Report(Answer):
    """Self-reported results of one System; `withdrawn_at` None: they stand."""

    id: int
    author: str
    system: str
    trust: str
    hardware: str
    hardware_slug: str
    source: str
    created_at: datetime
    withdrawn_at: datetime | None
    numbers: tuple[ReportedNumber, ...]
    url: str


Kind = TypeVar("Kind", bound=Answer)


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
        """One call, repeated while that is safe and worth it. Raises ApiError."""
        given = {name: value for name, value in (query or {}).items() if value != ""}
        last: Exception | None = None
        for attempt in range(TRIES):
            try:
                answer = self.session.request(
                    method,
                    self.base + path,
                    params=given,
                    json=body,
                    data=content or None,
                    timeout=(CONNECT_S, READ_S),
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                last, pause = (
                    ApiError(0, "unreachable", f"No answer from {self.base}: {type(error).__name__}."),
                    2.0**attempt,
                )
            else:
                if answer.ok:
                    return answer.json()
                last, pause = _refusal(answer), _pause(answer, attempt)
                if answer.status_code != 429 and answer.status_code < 500:
                    raise last
            if attempt < TRIES - 1:
                time.sleep(pause * random.uniform(0.8, 1.2))
        raise last or ApiError(0, "unreachable", f"No answer from {self.base}.")


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


def _pause(answer: requests.Response, attempt: int) -> float:
    """What the site asks for, within reason; else one, two, four seconds."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else 2.0**attempt


def _refusal(answer: requests.Response) -> ApiError:
    try:
        told = answer.json()["error"]
        return ApiError(answer.status_code, told["code"], told["message"], told.get("field", ""))
    except (ValueError, KeyError, TypeError):
        return ApiError(answer.status_code, "unknown", f"The site answered {answer.status_code} without a reason.")
