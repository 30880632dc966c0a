"""The boards with 1,000,000 measurements over 10,000 models, on PostgreSQL: pages, fronts, paging, export, a new result.

    LONGBOARD_DATABASE_URL=postgresql://... python benchmarks/web/scale.py [--models 10000] [--keep] [--out results/name.json]

Seeds a scratch database (its name gets `test_` in front) with COPY in a minute or two, and drops it afterwards. Timings of
single calls run in this process through the whole middleware stack; those under load go over HTTP to gunicorn with two
workers, at half of the rate that it reached with all clients at full speed. On a machine with other work, read the CPU
times, and the load average that the result carries.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scale_load import spread, under_load
from scale_seed import COSTS, LENGTHS, NOW, N, seed

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT / "tasks"), str(ROOT)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")


def timed(call: Callable[[], Any], rounds: int) -> dict[str, float]:
    times, cpu = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1_000)
    return spread(times) | {"cpu_mean_ms": round((time.process_time() - cpu) / rounds * 1_000, 2)}


def views(count: int, pages: int = 180) -> list[str]:
    """Distinct addresses of the board: lengths, costs, orders, pages. What a reader steps through; no filters."""
    every = [
        f"/boards/niah/?length={length}&cost={cost}&page={page}&sort={order}"
        for length in LENGTHS
        for cost in COSTS
        for page in range(1, pages + 1)
        for order in ("accuracy", "cost", "front")
    ]
    random.Random("views").shuffle(every)
    return every[:count]


def single_calls(rounds: int) -> dict[str, Any]:
    """Server time in this process, one request at a time."""
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"Accept-Encoding": "gzip"})

    def ask(path: str, status: int = 200, **headers: str) -> Any:
        response = client.get(path, headers=headers)
        assert response.status_code == status, (path, response.status_code)
        return response

    ask("/boards/niah/")
    # As wsgi.py does: else collections walk what this process has loaded to seed, 110 ms in the middle of a page.
    gc.collect()
    gc.freeze()
    addresses = iter(views(rounds * 4))
    etag = ask("/boards/niah/?length=4096")["ETag"]
    found: dict[str, Any] = {
        "board, cold": timed(lambda: ask(next(addresses)), rounds),
        "board, warm": timed(lambda: ask("/boards/niah/?length=4096"), rounds),
        "board, 304": timed(lambda: ask("/boards/niah/?length=4096", 304, **{"If-None-Match": etag}), rounds),
    }
    filters = iter([f"/boards/niah/?length=4096&search=bench+{i:03}" for i in range(rounds)])
    found["board, searched, cold"] = timed(lambda: ask(next(filters)), rounds)
    families = iter([f"/boards/niah/?length=4096&family=hybrid&page={i + 1}" for i in range(rounds)])
    found["board, one family in five, cold"] = timed(lambda: ask(next(families)), min(rounds, 30))
    orders = iter([f"/boards/niah/lengths/?threshold=0.{i:03}" for i in range(100, 100 + rounds)])
    found["length matrix, cold"] = timed(lambda: ask(next(orders)), min(rounds, 20))
    cache.clear()
    with CaptureQueriesContext(connection) as statements:
        page = ask("/boards/niah/?length=4096")
    found["statements, cold"] = len(statements)
    found["page, gzip bytes"] = len(page.content)
    with CaptureQueriesContext(connection) as statements:
        ask("/boards/niah/?length=4096")
    found["statements, warm"] = len(statements)
    return found


def fronts(rounds: int) -> dict[str, Any]:
    import numpy as np

    from longboard.boards.fronts import front, membership
    from longboard.boards.sources import CostPlace, Key, Live
    from longboard.fleet.models import Hardware
    from longboard.registry.models import Suite
    from longboard_tasks.catalogue.metrics import COST_TASK

    suites = {s.name: s.pk for s in Suite.objects.filter(is_current=True)}
    key, hardware = Key(suites["niah"], "single", "accuracy"), Hardware.objects.get().pk
    ask = {"cost": "ttft_ms", "hardware_id": hardware, "length": 4_096}
    assert Live().front(key, **ask)
    held = Live().held(key, cost_place=CostPlace(suites["efficiency"], COST_TASK), **ask)
    gain, cost = held.gains.numbers, held.costs.at(held.gains.systems)

    def arbitrary() -> None:
        again = Live().held(key, cost_place=CostPlace(suites["efficiency"], COST_TASK), **ask)
        front(again.gains.numbers["value"], again.costs.at(again.gains.systems)["value"])

    def likely() -> None:
        membership(*(np.stack([a["value"], a["low"], a["high"]], 1) for a in (gain, cost)), draws=64)

    return {
        "stored front": timed(lambda: Live().front(key, **ask), rounds),
        "front of any axes, read and worked out": timed(arbitrary, rounds),
        "front of any axes, worked out": timed(lambda: front(gain["value"], cost["value"]), rounds),
        "its probabilities, 64 draws": timed(likely, min(rounds, 20)),
        "candidates": int((gain["value"] == gain["value"]).sum()),
    }


def paging(rounds: int) -> dict[str, Any]:
    """The API's keyset pages, 100 a page: the first, and the ten-thousandth (or the last)."""
    from django.test import Client

    from longboard.results.models import Measurement

    client = Client()
    total = Measurement.objects.count()
    page = min(10_000, total // 100)
    at = Measurement.objects.order_by("pk").values_list("pk", flat=True)[(page - 1) * 100]
    first = client.get("/api/v1/measurements?limit=100").json()
    assert first["next"]
    from longboard.api import paging as cursors

    cursor = cursors.after_pk("measurements", at - 1)

    def ask(query: str) -> Any:
        response = client.get(f"/api/v1/measurements?limit=100{query}")
        assert response.status_code == 200, response.status_code
        return response

    assert len(ask(f"&cursor={cursor}").json()["items"]) >= 90
    return {"page 1": timed(lambda: ask(""), rounds), f"page {page}": timed(lambda: ask(f"&cursor={cursor}"), rounds)}


def export() -> dict[str, Any]:
    """Every measurement as CSV: first byte, rows a second, memory."""
    from django.test import Client

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    list(Client().get("/export/measurements.csv").streaming_content)[:1]
    before, start = resident(), time.perf_counter()
    response = Client().get("/export/measurements.csv")
    parts = iter(response.streaming_content)
    next(parts), next(parts)
    first = time.perf_counter() - start
    most, size, last = before, 0, b""
    for part in parts:
        size, last = size + len(part), part
        most = max(most, resident())
    took = time.perf_counter() - start
    rows = int(last.decode().rpartition("rows=")[2])
    return {"first_byte_ms": round(first * 1_000, 1), "rows": rows, "rows_per_s": round(rows / took), "seconds": round(took, 1),
            "megabytes": round(size / 1e6, 1), "memory_growth_megabytes": round((most - before) / 1e6, 1)}  # fmt: skip


def new_result() -> dict[str, Any]:
    """A result is accepted into the full board: how long its transaction takes, and when a reader sees it."""
    from django.db import transaction
    from django.test import Client
    from tests import factories

    from longboard.boards.ranking import refresh_due
    from longboard.boards.summaries import update_summaries

    client, found = Client(), {}
    for name, suite, metrics in (
        ("accuracy", factories.make_suite("niah"), {"accuracy": 1.0}),
        ("efficiency", factories.make_suite("efficiency"), {name: float(base) / 1e3 for name, base in COSTS.items()}),
    ):
        system = factories.make_system(factories.make_model(f"newcomer-{name}"))
        run = factories.make_accepted_run(system, suite=suite, context_length=4_096)
        for metric, value in metrics.items():
            factories.make_measurement(run, metric, value, n=N, task=run.tasks[0])
        start = time.perf_counter()
        with transaction.atomic():
            update_summaries(run=run, now=datetime.now(UTC))
        accepted = time.perf_counter() - start
        page = client.get(f"/boards/niah/?length=4096&search=newcomer-{name}").content.decode()
        seen = time.perf_counter() - start
        assert name != "accuracy" or f"newcomer-{name}" in page, "not on the board"
        found[name] = {"transaction_ms": round(accepted * 1_000, 1), "visible_after_ms": round(seen * 1_000, 1)}
    start = time.perf_counter()
    refresh_due(now=datetime.now(UTC))
    found["job that writes ranks and fronts again, s"] = round(time.perf_counter() - start, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=8.0, help="of full speed; half load takes twice as long")
    parser.add_argument("--keep", action="store_true", help="keep the seeded database, and use one that was kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scale-postgresql.json")
    options = parser.parse_args()
    os.environ.setdefault("LONGBOARD_DATA_DIR", tempfile.mkdtemp(prefix="scale-"))
    os.environ.setdefault("LONGBOARD_LOG_LEVEL", "ERROR")
    for name in ("API_ANONYMOUS", "API_TOKEN", "EXPORTS"):  # the server is measured here, not its limits
        os.environ[f"LONGBOARD_{name}_PER_MINUTE"] = "100000000"
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.test.utils import setup_test_environment

    if connection.vendor != "postgresql":
        sys.exit("This benchmark needs PostgreSQL: LONGBOARD_DATABASE_URL=postgresql://...")
    setup_test_environment()
    from longboard.boards.columns import rebuild_all
    from longboard.boards.models import Column
    from longboard.boards.ranking import refresh_due

    original = settings.DATABASES["default"]["NAME"]
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True, keepdb=options.keep)
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average_before": os.getloadavg()[0],
    }
    try:
        if not Column.objects.exists():
            start = time.perf_counter()
            result["seeded"] = seed(options.models)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
            result["seed_s"] = round(time.perf_counter() - start, 1)
            print(json.dumps(result["seeded"]), f"in {result['seed_s']} s", flush=True)
            start = time.perf_counter()
            rebuild_all(now=NOW)
            result["pack_columns_s"] = round(time.perf_counter() - start, 1)
            start = time.perf_counter()
            while refresh_due(now=NOW):
                pass
            result["ranks_and_fronts_s"] = round(time.perf_counter() - start, 1)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        for title, measure in (
            ("single calls", lambda: single_calls(options.rounds)),
            ("fronts", lambda: fronts(options.rounds)),
            ("keyset pages", lambda: paging(options.rounds)),
            ("export", export),
            ("under load", lambda: under_load(name, views(20_000), options.seconds)),
            ("new result", new_result),
        ):
            result[title] = measure()
            print(f"{title}: {json.dumps(result[title], indent=1)}", flush=True)
        result["load_average_after"] = os.getloadavg()[0]
    finally:
        if not options.keep:
            connection.creation.destroy_test_db(str(original), verbosity=0)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
