"""What `scale.py` fills its scratch database with: a million measurements over ten thousand models, by COPY."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

LENGTHS = tuple(2**power for power in range(10, 18))  # 1K to 128K
COSTS = {"ttft_ms": 50, "tpot_ms": 5, "peak_memory_bytes": 2**29, "cache_bytes": 2**22, "decode_tokens_per_s": 200,
         "prefill_tokens_per_s": 9_000}  # fmt: skip
DEPTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
N = 96
FAILED = 0.05  # of the efficiency runs
FAMILIES = ("full attention", "state space", "hybrid", "linear attention", "sparse attention")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def copy(table: str, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> int:
    from django.db import connection

    count = 0
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as sink:
        for row in rows:
            sink.write_row(row)
            count += 1
    return count


def seed(models: int) -> dict[str, int]:
    """Models, Systems, Runs, Measurements and Cells by COPY. Numbers follow each System's own skill and price."""
    from tests import factories

    from longboard.registry.models import Method, Model, System
    from longboard_tasks.catalogue.metrics import METRICS
    from longboard_tasks.contract import sha256
    from longboard_tasks.intervals import wilson

    rng = random.Random("scale")
    niah, efficiency, pool = factories.make_suite("niah"), factories.make_suite("efficiency"), factories.make_pool()
    method = Method.objects.get(name="none")
    first = factories.make_accepted_run(suite=niah, pool=pool)
    bundle = first.attempts.get().bundle
    now = datetime.now(UTC)
    copy(
        "registry_model",
        ["slug", "title", "source", "ref", "revision", "family", "architecture", "parameters", "max_positions", "licence",
         "summary", "configuration", "created_at", "updated_at"],
        ((f"bench-{i:05}", f"Bench {i:05}", "hub", f"bench/m-{i:05}", f"{i:040x}", rng.choice(FAMILIES), "LlamaForCausalLM",
          int(10 ** rng.uniform(6.5, 11)), rng.choice((32_768, 65_536, 131_072, None)), "Apache-2.0", "", "{}", now, now)
         for i in range(models)),
    )  # fmt: skip
    copy(
        "registry_system",
        ["digest", "slug", "model_id", "method_id", "budget", "settings", "dtype", "attention", "kernels", "created_at",
         "updated_at"],
        ((sha256(slug.encode()), slug, pk, method.pk, 1.0, "{}", "bfloat16", "sdpa", "stock", now, now)
         for pk, slug in Model.objects.filter(slug__startswith="bench-").values_list("pk", "slug")),
    )  # fmt: skip
    systems = list(System.objects.filter(slug__startswith="bench-").order_by("pk").values_list("pk", flat=True))
    author = first.submission.author_id
    submissions = {pk: uuid.UUID(int=rng.getrandbits(128), version=4) for pk in systems}
    copy(
        "submissions_submission",
        ["id", "author_id", "system_id", "note", "idempotency_key", "request_digest", "created_at"],
        ((submissions[pk], author, pk, "", "", "0" * 64, NOW) for pk in systems),
    )
    template = {f.attname: f for f in type(first)._meta.concrete_fields}
    names = list(template)
    given = {name: getattr(first, name) for name in names}
    skills = {pk: (rng.uniform(0.3, 1), rng.lognormvariate(0, 1)) for pk in systems}
    runs: dict[tuple[int, int, int], uuid.UUID] = {}
    failed: set[tuple[int, int]] = set()

    def run_rows() -> Iterable[tuple[Any, ...]]:
        for pk in systems:
            for length in LENGTHS:
                for suite in (niah, efficiency):
                    key = uuid.UUID(int=rng.getrandbits(128), version=4)
                    runs[pk, length, suite.pk] = key
                    broken = suite is efficiency and rng.random() < FAILED
                    if broken:
                        failed.add((pk, length))
                    at = NOW - timedelta(days=rng.random() * 300)
                    yield tuple(
                        (given | {"id": key, "submission_id": submissions[pk], "system_id": pk, "suite_id": suite.pk,
                                  "tasks": json.dumps(["single" if suite is niah else "generate"]), "context_length": length,
                                  "state": "failed" if broken else "accepted", "failure_class": "oom" if broken else "",
                                  "created_at": at, "queued_at": at, "finished_at": at})[name]
                        for name in names
                    )  # fmt: skip

    run_count = copy("submissions_run", names, run_rows())
    cell_columns = ["system_id", "hardware_id", "suite_id", "task", "metric", "context_length", "value", "ci_low", "ci_high",
                    "n", "unit", "trust", "runs", "last_run_id", "updated_at"]  # fmt: skip

    def numbers_of(pk: int) -> list[tuple[Any, ...]]:
        own = random.Random(pk)
        skill, price = skills[pk]
        found = []
        for step, length in enumerate(LENGTHS):
            depths = [round(min(1, skill * 0.93**step * own.uniform(0.9, 1.1)) * 16) / 16 for _ in DEPTHS]
            share = sum(depths) / len(depths)
            run = runs[pk, length, niah.pk]
            found.append((niah.pk, run, "single", "accuracy", length, None, share, *wilson(share, N), N))
            found += [
                (niah.pk, run, "single", "accuracy_by_depth", length, depth, value, *wilson(value, 16), 16)
                for depth, value in zip(DEPTHS, depths, strict=True)
            ]
            if (pk, length) not in failed:
                run = runs[pk, length, efficiency.pk]
                for name, base in COSTS.items():
                    value = (
                        base * price * (1.5**step if name in ("ttft_ms", "cache_bytes") else 1) * own.uniform(0.9, 1.1)
                    )
                    found.append(
                        (efficiency.pk, run, "generate", name, length, None, value, value * 0.97, value * 1.03, 5)
                    )
        return found

    def measurements() -> Iterable[tuple[Any, ...]]:
        for pk in systems:
            at = NOW - timedelta(days=skills[pk][0] * 300)
            for suite, run, task, metric, length, depth, value, low, high, n in numbers_of(pk):
                yield (run, bundle.pk, pk, pool.hardware_id, suite, task, metric, length, depth, value, low, high, n,
                       METRICS[metric].unit, "measured", at)  # fmt: skip

    def cells() -> Iterable[tuple[Any, ...]]:
        for pk in systems:
            for suite, run, task, metric, length, depth, value, low, high, n in numbers_of(pk):
                if depth is None:
                    yield (pk, pool.hardware_id, suite, task, metric, length, value, low, high, n, METRICS[metric].unit,
                           "measured", 1, run, NOW)  # fmt: skip

    measured = copy(
        "results_measurement",
        ["run_id", "bundle_id", "system_id", "hardware_id", "suite_id", "task", "metric", "context_length", "depth", "value",
         "ci_low", "ci_high", "n", "unit", "trust", "created_at"],
        measurements(),
    )  # fmt: skip
    return {
        "models": models,
        "runs": run_count,
        "measurements": measured,
        "cells": copy("boards_cell", cell_columns, cells()),
    }
