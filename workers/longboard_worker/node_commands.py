"""The commands of one node: enrol, rotate its key, take runs, and carry a run to a machine with no way out and back.

Heavy imports happen inside the command that needs them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import socket
import sys
import time
from pathlib import Path

from longboard_tasks.contract import ResultBundle, SignedBundle
from longboard_worker.identity import (
    Enrolment,
    load_enrolment,
    load_key,
    public_hex,
    save_enrolment,
    save_key,
    write_private,
)

IDLE_S = 3.0


def add_node_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    enrol = commands.add_parser("enrol", help="register this machine with a site, by a one-use code")
    enrol.add_argument("--site", required=True, help="https://... of the site")
    enrol.add_argument(
        "--code", help="the code; or set LONGBOARD_ENROL_CODE, which other users of this machine cannot see"
    )
    enrol.add_argument("--name", default=socket.gethostname(), help="the node's name (default: this host's)")
    enrol.add_argument("--no-self-test", action="store_true", help="the pool's owner then has to approve the node")
    enrol.set_defaults(run=enrol_command)

    rotate = commands.add_parser("rotate", help="make a new key; the present one signs it")
    rotate.set_defaults(run=rotate_command)

    start = commands.add_parser(
        "start", help="take runs until stopped: pulls over HTTPS, or waits on a first-party broker"
    )
    start.add_argument("--broker", default=os.environ.get("LONGBOARD_BROKER_URL", ""), help="first-party pools only")
    start.add_argument("--models", type=Path, default=None, help="folder of fetched models")
    start.add_argument("--once", action="store_true", help="end after one run, or when there is none")
    start.set_defaults(run=start_command)

    export = commands.add_parser("export-run", help="lease a run for days, into a file for a machine with no way out")
    export.add_argument(
        "run_id", nargs="?", default=None, help="a queued run of this node's pool (default: the next one)"
    )
    export.add_argument("--out", type=Path, required=True)
    export.set_defaults(run=export_command)

    upload = commands.add_parser("upload", help="hand in a bundle that `run` made elsewhere")
    upload.add_argument("bundle", type=Path)
    upload.set_defaults(run=upload_command)


def add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser("report", help="print what this machine would report of itself")
    report.set_defaults(run=report_command)


def enrol_command(args: argparse.Namespace) -> int:
    from longboard_tasks.hardware import hardware_report, software_versions
    from longboard_worker.client import Refused, SiteClient, Unreachable
    from longboard_worker.selftest import self_test

    code = args.code or os.environ.get("LONGBOARD_ENROL_CODE", "")
    if not code:
        print("Give --code, or set LONGBOARD_ENROL_CODE. The pool's owner makes a code on the site.", file=sys.stderr)
        return 2
    key = load_key(args.home)
    try:
        answer = SiteClient(args.site).enrol(
            code=code,
            name=args.name,
            public_key=public_hex(key),
            report=hardware_report(),
            software=software_versions(),
            self_test=None if args.no_self_test else self_test(),
        )
    except (Refused, Unreachable) as error:
        print(f"Not enrolled: {error}", file=sys.stderr)
        return 1
    save_enrolment(
        args.home,
        Enrolment(
            site=args.site,
            node=answer["node"],
            name=answer["name"],
            pool=answer["pool"],
            queue=answer["queue"],
            is_first_party=answer["is_first_party"],
            server_key=answer["server_key"],
        ),
    )
    print(f'Enrolled as "{answer["name"]}" in pool "{answer["pool"]}". Now: longboard-worker start')
    if answer["state"] == "pending":
        print(f"It waits for the approval of the pool's owner. {answer['state_note']}")
    return 0


def rotate_command(args: argparse.Namespace) -> int:
    """The new key is on disk before the site hears of it, so a crash in between loses neither."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from longboard_worker.client import Refused, SiteClient, Unreachable

    enrolment, fresh = load_enrolment(args.home), args.home / "node.key.new"
    if not fresh.exists():
        save_key(fresh, Ed25519PrivateKey.generate())
    new_key = Ed25519PrivateKey.from_private_bytes(fresh.read_bytes())
    site = SiteClient(enrolment.site, node=enrolment.node, key=load_key(args.home))
    try:
        site.rotate(new_key)
    except Refused as refused:
        # A lost reply: the site may know the new key already. Then the same call in its name succeeds.
        site = SiteClient(enrolment.site, node=enrolment.node, key=new_key)
        try:
            site.rotate(new_key)
        except (Refused, Unreachable):
            print(f"Not rotated: {refused}", file=sys.stderr)
            return 1
    except Unreachable as error:
        print(f"Not rotated: {error}", file=sys.stderr)
        return 1
    fresh.replace(args.home / "node.key")
    print("The node has a new key. Restart it if it runs. Results that the old key signed stay valid.")
    return 0


def start_command(args: argparse.Namespace) -> int:
    enrolment = load_enrolment(args.home)
    models_dir = args.models or (Path(m) if (m := os.environ.get("LONGBOARD_MODELS_DIR")) else None)
    if args.broker and not args.once:
        return _serve_celery(args, enrolment, models_dir)
    from longboard_worker.client import Unreachable
    from longboard_worker.node import Node

    node = Node(args.home, models_dir)
    print(f'Node "{enrolment.name}" pulls from {enrolment.site}; Ctrl-C ends it.', flush=True)
    while not node.is_draining:
        try:
            worked = node.work_once()
        except Unreachable as error:
            logging.warning("site not reachable, asking again: %s", error)
            worked = False
        if args.once:
            return 0
        if not worked:
            time.sleep(IDLE_S * random.uniform(0.8, 1.2))
    return 0


def _serve_celery(args: argparse.Namespace, enrolment: Enrolment, models_dir: Path | None) -> int:
    """A plain Celery worker on the pool's queue, one run at a time."""
    os.environ["LONGBOARD_NODE_HOME"] = str(args.home)
    if models_dir:
        os.environ["LONGBOARD_MODELS_DIR"] = str(models_dir)
    from longboard_worker.jobs import make_app

    broker_dir = os.environ.get("LONGBOARD_BROKER_DIR")
    app = make_app(args.broker, Path(broker_dir) if broker_dir else None)
    # solo: the run itself is a child process, so the worker needs no pool; and a prefork worker on filesystem://
    # hangs on a SIGTERM to its group.
    app.worker_main(
        ["worker", "-P", "solo", "-Q", enrolment.queue, "-n", f"{enrolment.name}@%h", "-l", "INFO"]
        + ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
    return 0


def export_command(args: argparse.Namespace) -> int:
    """Leases and starts a Run for a machine that cannot reach the site, and writes its signed ticket."""
    from longboard_worker.client import Refused, SiteClient, Unreachable
    from longboard_worker.tickets import TicketRefused, open_ticket

    enrolment = load_enrolment(args.home)
    site = SiteClient(enrolment.site, node=enrolment.node, key=load_key(args.home))
    try:
        signed = site.export(args.run_id)
        ticket = open_ticket(signed, enrolment)
    except (Refused, Unreachable, TicketRefused) as error:
        print(f"Not exported: {error}", file=sys.stderr)
        return 1
    write_private(args.out, signed.model_dump_json().encode())
    print(f"Wrote {args.out}: run {ticket.run.run_id}, to be handed in before {ticket.lease_until:%Y-%m-%d %H:%M} UTC.")
    print("There: longboard-worker --home HOME run FILE --out bundle.json, with this node's home folder.")
    return 0


def upload_command(args: argparse.Namespace) -> int:
    """The bundle goes the way of every other one: the same checks, the same receipt."""
    from longboard_worker.client import Refused, SiteClient, Unreachable

    enrolment, key = load_enrolment(args.home), load_key(args.home)
    signed = SignedBundle.model_validate_json(args.bundle.read_text())
    bundle = ResultBundle.model_validate_json(signed.payload)
    if not bundle.attempt_id:
        print("This bundle answers no run of the site: make the file with export-run first.", file=sys.stderr)
        return 2
    site = SiteClient(enrolment.site, node=enrolment.node, key=key)
    try:
        answer = site.hand_in(attempt_id=bundle.attempt_id, fence=bundle.fence, signed=signed)
    except (Refused, Unreachable) as error:
        print(f"Not handed in: {error}", file=sys.stderr)
        return 1
    print(f"The site answers: {answer['state']}. {answer['reason']} Receipt {answer['receipt']}.")
    return 0 if answer["state"] == "accepted" else 1


def report_command(args: argparse.Namespace) -> int:
    from longboard_tasks.hardware import hardware_report, software_versions

    print(
        json.dumps({"hardware": hardware_report().model_dump(mode="json"), "software": software_versions()}, indent=1)
    )
    return 0
