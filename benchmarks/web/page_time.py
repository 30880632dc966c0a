"""Server time of the board page: cold (rendered anew), warm (its region kept), and 304, with the SQL statements of each.

    python benchmarks/web/page_time.py [--systems 10 200 1000] [--rounds 40] [--out results/name.json]

Seeds a scratch database of its own (SQLite; PostgreSQL where LONGBOARD_DATABASE_URL says so) and drops it afterwards.
Requests run in this process through the whole middleware stack, so the figures are server time without a network.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT / "tasks"), str(ROOT)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")

LENGTHS = tuple(2**power for power in range(9, 17))  # 512 to 64K
COSTS = {"ttft_ms": 50, "tpot_ms": 5, "peak_memory_bytes": 2**29, "cache_bytes": 2**22, "decode_tokens_per_s": 200,
         "prefill_tokens_per_s": 9_000}  # fmt: skip


def seed(systems: int) -> None:
    """One accuracy number and six costs for each System and length, the fronts of one length stored."""
    from tests import factories

    from longboard.boards.columns import rebuild_all
    from longboard.boards.models import Cell
    from longboard.boards.ranking import rebuild_fronts
    from longboard.registry.models import Method, Model, System
    from longboard.submissions.models import Run
    from longboard_tasks.catalogue.metrics import METRICS
    from longboard_tasks.contract import sha256
    from longboard_tasks.intervals import wilson

    rng = random.Random(f"page_time:{systems}")
    niah, efficiency, pool = factories.make_suite("niah"), factories.make_suite("efficiency"), factories.make_pool()
    method = Method.objects.get(name="none")
    names = [f"bench-{i:05}" for i in range(systems)]
    families = ("full attention", "state space", "hybrid", "linear attention")
    Model.objects.bulk_create(
        Model(slug=n, title=n.title(), source="zoo", ref=n, family=rng.choice(families), parameters=10**7)
        for n in names
    )
    System.objects.bulk_create(
        System(digest=sha256(m.slug.encode()), slug=m.slug, model=m, method=method, dtype="float32", attention="sdpa",
               kernels="stock")
        for m in Model.objects.filter(slug__startswith="bench-")
    )  # fmt: skip
    run = factories.make_accepted_run(suite=niah, pool=pool)
    cells = []
    for system in System.objects.filter(slug__startswith="bench-"):
        skill, price = rng.uniform(0.3, 1), rng.lognormvariate(0, 1)
        for step, length in enumerate(LENGTHS):
            share = round(20 * skill * 0.9**step) / 20
            numbers = [("accuracy", niah, "single", share, *wilson(share, 20))]
            for name, base in COSTS.items():
                value = base * price * (1.5**step if name in ("ttft_ms", "cache_bytes") else 1) * rng.uniform(0.9, 1.1)
                numbers.append((name, efficiency, "generate", value, value * 0.97, value * 1.03))
            cells += [
                Cell(system=system, hardware=pool.hardware, suite=suite, task=task, metric=name, context_length=length,
                     value=value, ci_low=low, ci_high=high, n=20, unit=METRICS[name].unit, trust="measured", runs=1,
                     last_run=run, updated_at=factories.NOW)
                for name, suite, task, value, low, high in numbers
            ]  # fmt: skip
    Cell.objects.bulk_create(cells, batch_size=2_000)
    assert Run.objects.count() == 1
    rebuild_all(now=factories.NOW)
    for length in LENGTHS[:3]:
        rebuild_fronts(hardware=pool.hardware, context_length=length, now=factories.NOW)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"Accept-Encoding": "gzip"})
    paths = [f"/boards/niah/?length={length}" for length in LENGTHS[:3]]

    def ask(path: str, **headers: str) -> tuple[float, int, int, str]:
        start = time.perf_counter()
        response = client.get(path, headers=headers)
        took = (time.perf_counter() - start) * 1_000
        assert response.status_code == (304 if headers else 200), response.status_code
        return took, len(response.content), response.status_code, response["ETag"]

    def statements(path: str, **headers: str) -> int:
        with CaptureQueriesContext(connection) as found:
            ask(path, **headers)
        return len(found)

    for path in paths:
        ask(path)  # imports, templates, connections
    kinds: dict[str, dict[str, float]] = {}
    for kind in ("cold", "warm", "unchanged"):
        times, cpu, size = [], 0.0, 0
        for path in paths:
            ask(path)
        for turn in range(rounds):
            path = paths[turn % len(paths)]
            if kind == "cold":
                cache.clear()
            headers = {"If-None-Match": ask(path)[3]} if kind == "unchanged" else {}
            start = time.process_time()
            took, size, _, _ = ask(path, **headers)
            cpu += time.process_time() - start
            times.append(took)
        headers = {"If-None-Match": ask(paths[0])[3]} if kind == "unchanged" else {}
        if kind == "cold":
            cache.clear()
        times.sort()
        kinds[kind] = {
            "p50_ms": round(statistics.median(times), 2),
            "p95_ms": round(times[min(len(times) - 1, round(0.95 * len(times)))], 2),
            "cpu_mean_ms": round(cpu / rounds * 1_000, 2),
            "sql": statements(paths[0], **headers),
            "bytes_gzip": size,
        }
    return kinds


def first_view_bytes() -> dict[str, int]:
    """Compressed bytes of a first view: the page, its styles, its scripts."""
    from django.contrib.staticfiles import finders
    from django.test import Client
    from lxml import html

    page = Client().get("/boards/niah/")
    tree = html.fromstring(page.content.decode())
    weights = {"page": len(gzip.compress(page.content))}
    for address in [*tree.xpath("//script/@src"), *tree.xpath("//link[@rel='stylesheet' or @rel='icon']/@href")]:
        found = finders.find(address.removeprefix("/static/"))
        weights[address] = len(gzip.compress(Path(str(found)).read_bytes()))
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, nargs="+", default=[10, 200, 1_000])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    os.environ.setdefault("LONGBOARD_DATA_DIR", tempfile.mkdtemp(prefix="page-time-"))
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.test.utils import setup_test_environment

    setup_test_environment()
    original = settings.DATABASES["default"]["NAME"]
    rows = []
    print(
        f"{'systems':>8} {'numbers':>8} {'page':<10} {'p50 ms':>8} {'p95 ms':>8} {'CPU ms':>8} {'SQL':>4} {'gzip KB':>8}"
    )
    for count in options.systems:
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        try:
            seed(count)
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
            kinds = measure(options.rounds)
            weights = first_view_bytes()
        finally:
            connection.creation.destroy_test_db(str(original), verbosity=0)
        numbers = count * len(LENGTHS) * (1 + len(COSTS))
        for kind, got in kinds.items():
            times = f"{got['p50_ms']:>8.2f} {got['p95_ms']:>8.2f} {got['cpu_mean_ms']:>8.2f}"
            print(f"{count:>8,} {numbers:>8,} {kind:<10} {times} {got['sql']:>4} {got['bytes_gzip'] / 1000:>8.1f}")
        rows.append({"systems": count, "numbers": numbers, "pages": kinds, "first_view_bytes": weights})
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "database": connection.vendor,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[
            0
        ],  # above the core count, wall times are those of a busy machine: read the CPU
        "rounds": options.rounds,
        "rows": rows,
    }
    out = options.out or Path(__file__).parent / "results" / f"page_time-{connection.vendor}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"first view, compressed: {sum(rows[0]['first_view_bytes'].values()) / 1000:.1f} KB; written to {out}")


if __name__ == "__main__":
    main()
