"""Many nodes ask at once: no Run is given out twice, and none is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.faults.site import ROOT

CLAIMER = """
import django, json, sys, time; django.setup()
from django.utils import timezone
from longboard.fleet.models import Node
from longboard.submissions import lease
import logging; logging.disable(logging.INFO)
nodes = [Node.objects.select_related("pool").get(name=name) for name in sys.argv[1:]]
count, began = 0, time.perf_counter()
while True:
    given = 0
    for node in nodes:
        attempt = lease.claim(node=node, now=timezone.now())
        if attempt is not None:
            known = {"attempt_id": attempt.pk, "node": node, "fence": attempt.fence, "now": timezone.now()}
            lease.start(**known)
            lease.fail(**known, failure_class="model_error", message="", log_text="")
            given += 1
    count += given
    if not given:
        break
print(json.dumps({"leases": count, "seconds": time.perf_counter() - began}))
"""


def contend(site, figure, *, runs: int, processes: int, owners: int) -> None:
    site.django(
        "from longboard.accounts.models import User\n"
        "from longboard.fleet.models import Hardware, Node, Pool\n"
        "from longboard.registry.models import Model, Method, Suite\n"
        "from longboard.registry.services import system_for\n"
        "from longboard.submissions.models import Run, Submission\n"
        "from longboard_tasks.contract import MethodRef, Runtime\n"
        "from datetime import timedelta\n"
        f"tag = 'contended-{runs}'\n"
        "pool = Pool.objects.create(slug=tag, title=tag, hardware=Hardware.objects.first())\n"
        f"Node.objects.bulk_create(Node(name=f'{{tag}}-{{i}}', pool=pool, public_key=f'{{tag}}-{{i}}', enrolled_at=now) "
        f"for i in range({4 * processes}))\n"
        f"people = [User.objects.create_user(f'{{tag}}-{{i}}') for i in range({owners})]\n"
        "system = system_for(model=Model.objects.get(slug='tiny'), method=MethodRef(), runtime=Runtime())\n"
        "suite = Suite.objects.get(name='niah', is_current=True)\n"
        "asked = [Submission.objects.create(author=p, system=system, request_digest='0'*64, created_at=now) for p in people]\n"
        "Run.objects.bulk_create((Run(submission=asked[i % len(asked)], owner=people[i % len(people)], system=system, "
        "suite=suite, tasks=['single'], context_length=256, pool=pool, samples=5, seed=i, priority=i % 3, created_at=now, "
        f"queued_at=now + timedelta(milliseconds=i)) for i in range({runs})), batch_size=2000)\n"
        "from django.db import connection\n"
        "connection.cursor().execute('ANALYZE submissions_run')"
    )

    def claim(number: int) -> dict[str, float]:
        names = [f"contended-{runs}-{4 * number + i}" for i in range(4)]
        done = subprocess.run(
            [sys.executable, "-c", CLAIMER, *names], env=site.environment(), capture_output=True, text=True, cwd=ROOT,
            timeout=2_400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    site.end("sweep")  # a lease of 8 s would end while the others still ask
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(processes) as pool:
            told = list(pool.map(claim, range(processes)))
        took = time.monotonic() - began
        mine = (
            "FROM submissions_attempt a JOIN submissions_run r ON r.id = a.run_id JOIN fleet_pool p ON p.id = r.pool_id"
        )
        where = f"WHERE p.slug = 'contended-{runs}'"
        attempts, distinct = site.rows(f"SELECT count(*), count(DISTINCT run_id) {mine} {where}")[0]
        fences = site.rows(f"SELECT DISTINCT r.fence, a.number, r.state {mine} {where}")
        assert attempts == distinct == sum(row["leases"] for row in told) == runs
        assert fences == [(1, 1, "failed")]
    finally:
        # What a failure left: tens of thousands of queued runs would be cancelled one by one.
        site.rows(
            "UPDATE submissions_run SET state = 'cancelled' FROM fleet_pool p "
            "WHERE p.id = pool_id AND p.slug = %s AND state = 'queued' RETURNING 1",
            f"contended-{runs}",
        )
        site.start_sweep()
    busy = max(row["seconds"] for row in told)
    figure(
        f"{runs} runs of {owners} owners, {4 * processes} nodes in {processes} processes: {attempts} leases, 0 double grants, "
        f"{attempts / busy:.0f} lives (claim, start, end)/s ({took:.0f} s)"
    )


def test_no_run_is_given_to_two_nodes(site, figure):
    contend(site, figure, runs=300, processes=3, owners=6)


@pytest.mark.long
def test_no_run_of_37703_is_given_to_two_nodes(site, figure):
    contend(site, figure, runs=37_703, processes=4, owners=20)
