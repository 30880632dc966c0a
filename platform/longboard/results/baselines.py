"""The bundles that ship with the project, into this site: as if their machine had enrolled, leased and handed in.

Nothing is believed that a node would not be believed: the signature, the targets and every score go through
`results.services.receive_bundle`. Only the ids are fixed in advance, so that a second load finds the first.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.db import transaction
from django.utils.text import slugify

from longboard.accounts.models import User
from longboard.boards.ranking import refresh_due
from longboard.fleet.models import Node, Pool
from longboard.fleet.services import describe, enrol, ensure_hardware, make_enrolment_code, set_node_state
from longboard.registry.models import Model, Suite
from longboard.registry.services import architecture_model, system_for
from longboard.results.loading import say_loading
from longboard.results.models import Bundle
from longboard.results.services import receive_bundle
from longboard.submissions.models import Attempt, Run, Submission
from longboard.submissions.transitions import move
from longboard_tasks.baselines import FOLDER, Baseline, machines, public_key, read_baselines
from longboard_tasks.contract import canonical_json, sha256

log = logging.getLogger(__name__)

USER = "baselines"


class BaselineRefused(Exception):
    """A bundle that ships with the project does not check out here; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    new: int
    known: int  # here already
    skipped: int  # of a suite version or model that this site does not have


def load_baselines(*, now: datetime, folder: Path = FOLDER) -> Loaded:
    """Loads every machine's bundles, each in a transaction of its own; what is here already stays as it is.

    Raises BaselineRefused for the first bundle that the checks refuse; those before it stay. Needs a synced catalogue.
    Boards are ranked once, after the last: of 14 s for 211 bundles, ranking after each took 4.
    """
    new = known = skipped = 0
    found = [(machine, baseline) for machine in machines(folder) for baseline in read_baselines(machine)]
    try:
        for done, (machine, baseline) in enumerate(found, 1):
            spec = baseline.bundle.run
            if Run.objects.filter(pk=UUID(spec.run_id)).exists():
                known += 1
            elif not _has_place(baseline):
                skipped += 1
            else:
                # No two at one moment: a board that is read meanwhile is kept until its newest number is another one.
                at = now + timedelta(microseconds=new)
                _load(baseline, node=_node_of(machine, baseline, now), now=at)
                new += 1
            say_loading(done, len(found))
    finally:
        say_loading(len(found), len(found))
        refresh_due(now=now)
    log.info("baselines loaded", extra={"new": new, "known": known, "skipped": skipped})
    return Loaded(new, known, skipped)


def _has_place(baseline: Baseline) -> bool:
    spec = baseline.bundle.run
    model = Model.objects.filter(source=spec.system.model.source, ref=spec.system.model.id)
    return model.exists() and Suite.objects.filter(name=spec.suite, version=spec.suite_version).exists()


def _node_of(machine: Path, baseline: Baseline, now: datetime) -> Node:
    """The machine as a node of a pool of its own. It is revoked from the start: it brings these bundles and no others."""
    key = public_key(machine)
    if (node := Node.objects.select_related("pool").filter(public_key=key).first()) is not None:
        return node
    report, day = baseline.bundle.manifest.hardware, baseline.bundle.manifest.started_at.date()
    user, created = User.objects.get_or_create(username=USER)
    if created:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    hardware = ensure_hardware(
        slug=slugify(machine.name), title=describe(report), kind=report.kind, memory_bytes=report.memory_bytes
    )
    pool, _ = Pool.objects.get_or_create(
        slug=slugify(f"baselines-{machine.name}"),
        defaults={
            "title": f"Baselines of {day}, {describe(report)}"[:120],
            "hardware": hardware,
            "owner": user,
            "accepts_public_runs": False,
        },
    )
    with transaction.atomic():
        code = make_enrolment_code(pool=pool, actor=user, now=now)
        software = dict(baseline.bundle.manifest.software)
        node = enrol(code=code, name=machine.name[:80], public_key=key, report=report, software=software, now=now).node
        set_node_state(node=node, state=Node.State.REVOKED, actor=user)
        Node.objects.filter(pk=node.pk).update(last_seen_at=None)  # its files came, not the machine
    return node


@transaction.atomic
def _load(baseline: Baseline, *, node: Node, now: datetime) -> None:
    owner = User.objects.get(username=USER)
    bundle, spec = baseline.bundle, baseline.bundle.run
    started_at = bundle.manifest.started_at
    wanted = spec.system.model
    if wanted.source == Model.Source.ARCHITECTURE:
        model = architecture_model(wanted.id, wanted.configuration)
    else:
        model = Model.objects.get(source=wanted.source, ref=wanted.id)
    system = system_for(model=model, method=spec.system.method, runtime=spec.system.runtime)
    if system.as_spec() != spec.system:
        raise BaselineRefused(f"{baseline.machine}: {spec.run_id} is about another {model.slug} than this site's.")
    asked = {"machine": baseline.machine, "system": spec.system.digest}
    submission, _ = Submission.objects.get_or_create(
        author=owner,
        idempotency_key=f"baseline-{baseline.machine}-{spec.system.digest[:16]}",
        defaults={
            "system": system,
            "note": f"Baseline, measured {started_at:%Y-%m-%d} on {describe(bundle.manifest.hardware)}"[:300],
            "request_digest": sha256(canonical_json(asked)),
            "created_at": started_at,
        },
    )
    run = Run.objects.create(
        pk=UUID(spec.run_id),
        submission=submission,
        owner=owner,
        system=system,
        suite=Suite.objects.get(name=spec.suite, version=spec.suite_version),
        tasks=list(spec.tasks),
        context_length=spec.context_length,
        pool=node.pool,
        samples=spec.samples,
        seed=spec.seed,
        created_at=started_at,
        queued_at=started_at,
    )
    move(run, Run.State.LEASED, fence=bundle.fence)
    attempt = Attempt.objects.create(
        pk=UUID(bundle.attempt_id), run=run, node=node, number=1, fence=bundle.fence, leased_at=started_at,
        lease_until=started_at + timedelta(seconds=spec.limits.wall_s), started_at=started_at, is_offline=True,
    )  # fmt: skip
    move(run, Run.State.RUNNING, started_at=started_at)
    stored = receive_bundle(
        attempt_id=attempt.pk, node=node, fence=bundle.fence, signed=baseline.signed, now=now, rank=False
    )
    if stored.state != Bundle.State.ACCEPTED:
        raise BaselineRefused(
            f"{baseline.machine}: {spec.suite} of {model.slug} at {spec.context_length}: {stored.reason}"
        )
