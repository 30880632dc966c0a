"""Makes a data folder ready to serve: tables, catalogue, static files, the local pool and its enrolled node."""

from __future__ import annotations

import json
import logging
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from longboard.accounts.models import User
from longboard.embedded.supervisor import StartFailed, read_hardware_report, worker_command
from longboard.errors import LongboardError
from longboard.fleet.models import Node, Pool
from longboard.fleet.services import ensure_local_pool, make_enrolment_code
from longboard.registry.services import sync_catalogue
from longboard.results.baselines import BaselineRefused, load_baselines

log = logging.getLogger(__name__)

LOCAL_USER = "local"


def prepare_data() -> Pool:
    """Everything that needs no running site. A second call changes nothing."""
    with ThreadPoolExecutor(1) as beside:  # the node's report imports torch, which takes as long as all the rest
        report = beside.submit(read_hardware_report)
        call_command("migrate", verbosity=0, interactive=False)
        sync_catalogue()
        call_command("collectstatic", verbosity=0, interactive=False)
        return ensure_local_pool(report=report.result())


def load_shipped_baselines() -> str:
    """The bundles that ship with the project, so that a newcomer's first page shows measured numbers; a line about it.

    A site without them is a site all the same: what the checks refuse is said and left out.
    """
    try:
        loaded = load_baselines(now=timezone.now())
    except (BaselineRefused, LongboardError) as error:
        log.warning("baselines refused", extra={"reason": str(error)})
        return f"Baselines were left out: {error}"
    return f"Baselines: {loaded.new} results loaded, {loaded.known} were here."


def local_user() -> User:
    """The account that owns what this machine does by itself. It has no password, so nobody signs in as it."""
    user, created = User.objects.get_or_create(username=LOCAL_USER, defaults={"is_staff": True})
    if created:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def enrol_local_node(*, pool: Pool, home: Path, environment: dict[str, str]) -> None:
    """Enrols this machine with the running site by a one-use code, unless its folder holds a live enrolment already."""
    enrolment = home / "node.json"
    if enrolment.exists():
        kept = json.loads(enrolment.read_text())
        if Node.objects.filter(pk=kept["node"]).exclude(state=Node.State.REVOKED).exists():
            # The port may be another one today.
            enrolment.write_text(json.dumps(kept | {"site": environment["LONGBOARD_SITE_URL"]}))
            return
    code = make_enrolment_code(pool=pool, actor=local_user(), now=timezone.now())
    taken = Node.objects.filter(pool=pool).count()
    done = subprocess.run(  # noqa: S603 (our own command, no shell)
        worker_command(
            "--home", str(home), "enrol", "--site", environment["LONGBOARD_SITE_URL"], "--name", f"local-{taken + 1}"
        ),
        env=environment | {"LONGBOARD_ENROL_CODE": code},  # not on the command line, which every user can list
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise StartFailed(f"This machine could not enrol: {done.stderr.decode()[-500:]}")


def node_home() -> Path:
    return settings.DATA_DIR / "node"


def models_dir() -> Path:
    return settings.DATA_DIR / "models"
