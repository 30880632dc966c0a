"""How long does a Run wait for the machinery? Submit -> result, less the time that the evaluator itself took.

    python benchmarks/latency/submit_to_result.py [--broker redis://127.0.0.1:6379/0] [--runs 10]

Starts a site in a scratch folder with one node, submits one short run of the smallest zoo model after the other through the
REST API, and takes from each: total (POST to `accepted` seen by polling every 20 ms), evaluator (the bundle's own wall_s,
model load included), and the child's start (import of torch). Overhead = total - evaluator - start. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for source in ("platform", "workers", "tasks", "kernels"):
    sys.path.insert(0, str(ROOT / source))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", default="")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--model", default="llama-3m")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LONGBOARD_DATA_DIR"] = folder
        if args.broker:
            os.environ["LONGBOARD_BROKER_URL"] = args.broker
        os.environ["DJANGO_SETTINGS_MODULE"] = "longboard.settings"
        result = measure(args)
    args.out.mkdir(parents=True, exist_ok=True)
    name = "redis" if args.broker else "embedded"
    (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "runs"}, indent=1))


def measure(args: argparse.Namespace) -> dict:
    import django

    django.setup()
    from django.conf import settings
    from django.utils import timezone

    from longboard.accounts.services import make_token
    from longboard.embedded import supervisor as parts
    from longboard.embedded.demo import Ask, SiteApi
    from longboard.embedded.setup import enrol_local_node, local_user, models_dir, node_home, prepare_data
    from longboard_tasks.hardware import hardware_report

    pool = prepare_data()
    port = parts.free_port(0)
    supervisor = parts.Supervisor(settings.DATA_DIR / "logs", parts.site_environment(port))
    try:
        parts.start_web(supervisor, port)
        parts.start_platform_celery(supervisor)
        enrol_local_node(pool=pool, home=node_home(), environment=supervisor.environment)
        parts.start_node(supervisor, node_home(), models_dir())
        _, secret = make_token(user=local_user(), name="bench", scope="submit", days=1, now=timezone.now())
        api = SiteApi(supervisor.environment["LONGBOARD_SITE_URL"], secret)
        runs = []
        for number in range(args.runs + 1):
            ask = Ask(args.model, (256 + number,), (("niah", 5),))  # another length each time: a new Run
            began = time.perf_counter()
            submission = api.submit(ask, pool.slug)[0]
            answered = time.perf_counter()
            while (run := api.run(submission["runs"][0]["id"]))["state"] not in ("accepted", "failed", "rejected"):
                time.sleep(0.02)
            total = time.perf_counter() - began
            assert run["state"] == "accepted", run["failure_message"]
            from longboard.results.models import Bundle

            bundle = Bundle.objects.get(attempt__run=run["id"])
            if number:  # the first one warms the worker's imports
                runs.append({"total_s": total, "post_s": answered - began, "evaluator_s": bundle.manifest["wall_s"]})
    finally:
        supervisor.stop()
    start_s = min(_start_of_a_child() for _ in range(3))
    overhead = [run["total_s"] - run["evaluator_s"] - start_s for run in runs]
    return {
        "benchmark": "submit to result, one run at a time",
        "broker": args.broker.split("://")[0] or "filesystem",
        "n": len(runs),
        "child_start_s": start_s,
        "overhead_s": {
            "median": statistics.median(overhead), "min": min(overhead), "max": max(overhead),
        },
        "total_s_median": statistics.median(run["total_s"] for run in runs),
        "post_s_median": statistics.median(run["post_s"] for run in runs),
        "hardware": hardware_report().model_dump(mode="json"),
        "runs": runs,
    }  # fmt: skip


def _start_of_a_child() -> float:
    """Seconds that a fresh Python needs to import what the evaluator imports before its own clock starts."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import longboard_tasks.evaluate, os; os._exit(0)"], check=True, env=os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / s) for s in ("workers", "tasks", "kernels"))}, timeout=120)  # fmt: skip
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
