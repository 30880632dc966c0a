"""Real rows for tests and benchmarks, by plain functions: every argument has a default, every row is saved."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from longboard.accounts.models import User
from longboard.boards import columns
from longboard.boards.models import Cell, FrontEntry
from longboard.boards.summaries import write_cells
from longboard.fleet.models import Hardware, Node, Pool
from longboard.registry import services as registry
from longboard.registry.models import Method, Model, Suite, System
from longboard.reports.models import Report, ReportedNumber
from longboard.results.models import Bundle, Measurement, Sample, Trust
from longboard.submissions.models import Attempt, Run, Submission
from longboard_tasks.catalogue.metrics import METRICS
from longboard_tasks.contract import sha256
from longboard_tasks.intervals import wilson

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PASSWORD = "correct-horse-battery"
_numbers = itertools.count(1)


def make_user(username: str = "", **fields: Any) -> User:
    """Without a password unless one is given: hashing takes longer than most tests."""
    return User.objects.create_user(username=username or f"user{next(_numbers)}", **fields)


def make_model(slug: str = "", **fields: Any) -> Model:
    slug = slug or f"model-{next(_numbers)}"
    defaults: dict[str, Any] = {
        "title": slug.replace("-", " ").capitalize(),
        "source": Model.Source.ZOO,
        "ref": slug,
        "family": "full attention",
        "architecture": "LlamaForCausalLM",
        "parameters": 3_500_000,
        "trained_length": 2_048,
        "max_positions": 32_768,
        "licence": "Apache-2.0",
    }
    return Model.objects.create(slug=slug, **(defaults | fields))


def make_suite(name: str = "niah") -> Suite:
    """The suite of that name as the catalogue has it, with the methods and the zoo beside it."""
    if not Suite.objects.filter(name=name, is_current=True).exists():
        registry.sync_catalogue()
    return Suite.objects.get(name=name, is_current=True)


def make_system(model: Model | None = None, **fields: Any) -> System:
    number = next(_numbers)
    method, _ = Method.objects.get_or_create(name="none", defaults={"title": "Full cache", "family": "none"})
    defaults: dict[str, Any] = {
        "digest": sha256(f"system {number}".encode()),
        "slug": f"system-{number}",
        "model": model or make_model(),
        "method": method,
        "dtype": "float32",
        "attention": "sdpa",
        "kernels": "stock",
    }
    return System.objects.create(**(defaults | fields))


def make_hardware(slug: str = "local-cpu", **fields: Any) -> Hardware:
    defaults: dict[str, Any] = {"title": "CPU, 2 cores", "kind": "cpu", "memory_bytes": 8 * 2**30}
    row, _ = Hardware.objects.get_or_create(slug=slug, defaults=defaults | fields)
    return row


def make_pool(slug: str = "local-cpu", hardware: Hardware | None = None, **fields: Any) -> Pool:
    defaults: dict[str, Any] = {
        "title": "This machine",
        "hardware": hardware or make_hardware(),
        "is_first_party": True,
    }
    row, _ = Pool.objects.get_or_create(slug=slug, defaults=defaults | fields)
    return row


def make_node(pool: Pool | None = None, name: str = "", **fields: Any) -> Node:
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "name": name or f"node-{number}",
        "pool": pool or make_pool(),
        "public_key": sha256(f"key {number}".encode()),
        "report": {"device": "CPU", "kind": "cpu", "memory_bytes": 8 * 2**30, "cores": 2},
        "enrolled_at": NOW,
        "last_seen_at": NOW,
    }
    return Node.objects.create(**(defaults | fields))


def make_submission(author: User | None = None, system: System | None = None, **fields: Any) -> Submission:
    defaults: dict[str, Any] = {"request_digest": "0" * 64, "created_at": NOW}
    return Submission.objects.create(
        author=author or make_user(), system=system or make_system(), **(defaults | fields)
    )


def make_run(submission: Submission | None = None, **fields: Any) -> Run:
    submission = submission or make_submission()
    suite = fields.pop("suite", None) or make_suite()
    defaults: dict[str, Any] = {
        "submission": submission,
        "owner": submission.author,
        "system": submission.system,
        "suite": suite,
        "tasks": [suite.definition["tasks"][0]["name"]],
        "context_length": 1_024,
        "pool": fields.pop("pool", None) or make_pool(),
        "samples": suite.definition["default_samples"],
        "seed": 0,
        "created_at": NOW,
        "queued_at": NOW,
    }
    return Run.objects.create(**(defaults | fields))


def make_attempt(run: Run, node: Node | None = None, **fields: Any) -> Attempt:
    number = run.attempts.count() + 1
    defaults: dict[str, Any] = {
        "node": node or run.pool.nodes.first() or make_node(run.pool),
        "number": number,
        "fence": number,
        "leased_at": NOW,
        "lease_until": NOW + timedelta(seconds=180),
    }
    return Attempt.objects.create(run=run, **(defaults | fields))


def make_bundle(attempt: Attempt, payload: bytes = b"{}", **fields: Any) -> Bundle:
    defaults: dict[str, Any] = {
        "node": attempt.node,
        "state": Bundle.State.ACCEPTED,
        "digest": sha256(payload),
        "payload_gz": gzip.compress(payload),
        "public_key": attempt.node.public_key,
        "signature": "0" * 128,
        "received_at": NOW,
    }
    return Bundle.objects.create(attempt=attempt, **(defaults | fields))


def make_accepted_run(system: System | None = None, author: User | None = None, **fields: Any) -> Run:
    """A finished Run with its Attempt and bundle; add measurements, samples and cells to it."""
    submission = make_submission(author, system)
    run = make_run(submission, state=Run.State.ACCEPTED, started_at=NOW, finished_at=NOW, **fields)
    make_bundle(make_attempt(run, closed_as=Attempt.ClosedAs.DONE, closed_at=NOW))
    return run


def make_measurement(run: Run, metric: str = "accuracy", value: float = 0.8, **fields: Any) -> Measurement:
    n = fields.pop("n", run.samples)
    low, high = _interval(metric, value, n)
    defaults: dict[str, Any] = {
        "bundle": Bundle.objects.get(attempt__run=run, state=Bundle.State.ACCEPTED),
        "system": run.system,
        "hardware": run.pool.hardware,
        "suite": run.suite,
        "task": run.tasks[0],
        "context_length": run.context_length,
        "ci_low": low,
        "ci_high": high,
        "unit": METRICS[metric].unit,
        "trust": Trust.MEASURED,
        "created_at": NOW,
    }
    return Measurement.objects.create(run=run, metric=metric, value=value, n=n, **(defaults | fields))


def make_sample(run: Run, index: int = 0, **fields: Any) -> Sample:
    defaults: dict[str, Any] = {
        "task": run.tasks[0],
        "depth": (0.0, 0.25, 0.5, 0.75, 1.0)[index % 5],
        "prompt_tokens": run.context_length,
        "prompt_sha256": sha256(f"prompt {index}".encode()),
        "prompt_tail": "What is the special magic number for Oslo? The special magic number for Oslo is:",
        "target": "1234567",
        "answer": " 1234567.",
        "score": 1.0,
    }
    return Sample.objects.create(run=run, index=index, **(defaults | fields))


def make_report(system: System | None = None, **fields: Any) -> Report:
    """One self-reported accuracy at 1,024 tokens on the hardware of this machine."""
    defaults: dict[str, Any] = {
        "author": make_user(),
        "system": system or make_system(),
        "hardware_text": "A cluster of ours",
        "source_url": "https://example.org/paper",
        "created_at": NOW,
    }
    report = Report.objects.create(**(defaults | fields))
    ReportedNumber.objects.create(
        report=report, system=report.system, suite=make_suite(), task="single", metric="accuracy", context_length=1_024,
        value=0.7, ci_low=0.6, ci_high=0.78, n=100, unit="share",
    )  # fmt: skip
    return report


def make_cell(run: Run, metric: str = "accuracy", value: float = 0.8, **fields: Any) -> Cell:
    """The summary row that this Run's number stands in. Shares get their Wilson interval, the rest 4 % each way."""
    (cell,) = write_cells([_cell(run, metric, value, **fields)], now=fields.get("updated_at", NOW))
    return cell


def _cell(run: Run, metric: str, value: float, **fields: Any) -> Cell:
    n = fields.pop("n", run.samples)
    low, high = _interval(metric, value, n)
    defaults: dict[str, Any] = {
        "system": run.system,
        "hardware": run.pool.hardware,
        "suite": run.suite,
        "task": run.tasks[0],
        "context_length": run.context_length,
        "ci_low": low,
        "ci_high": high,
        "unit": METRICS[metric].unit,
        "trust": Trust.MEASURED,
        "runs": 1,
        "last_run": run,
        "updated_at": NOW,
    }
    return Cell(metric=metric, value=value, n=n, **(defaults | fields))


def make_front_entry(cell: Cell, *, cost_metric: str = "ttft_ms", on_front: bool, probability: float) -> FrontEntry:
    return FrontEntry.objects.create(
        suite=cell.suite,
        task=cell.task,
        metric=cell.metric,
        cost_metric=cost_metric,
        context_length=cell.context_length,
        hardware=cell.hardware,
        system=cell.system,
        on_front=on_front,
        probability=probability,
        updated_at=NOW,
    )


def make_board(numbers: Sequence[tuple[str, int, float, float]], *, pool: Pool | None = None) -> dict[str, System]:
    """A whole board from (model slug, context length, accuracy, ttft_ms) rows: cells for both axes, Systems by slug."""
    niah, efficiency = make_suite("niah"), make_suite("efficiency")
    pool, author, systems, cells = pool or make_pool(), make_user(), {}, []
    for slug, length, accuracy, ttft in numbers:
        if slug not in systems:
            systems[slug] = make_system(Model.objects.filter(slug=slug).first() or make_model(slug))
        at = {"system": systems[slug], "author": author, "context_length": length, "pool": pool}
        cells.append(_cell(make_accepted_run(**at, suite=niah), "accuracy", accuracy))
        costs = make_accepted_run(**at, suite=efficiency)
        cells.append(_cell(costs, "ttft_ms", ttft))
        cells.append(_cell(costs, "peak_memory_bytes", 2**28 + ttft * 2**16))
        cells.append(_cell(costs, "decode_tokens_per_s", 1_000 / (1 + ttft / 100)))
    Cell.objects.bulk_create(cells)
    for key in {(c.suite_id, c.task, c.metric, c.context_length, c.hardware_id) for c in cells}:
        columns.rebuild(key, now=NOW)
    return systems


def _interval(metric: str, value: float, n: int) -> tuple[float, float]:
    return wilson(value, n) if METRICS[metric].unit == "share" else (value * 0.96, value * 1.04)
