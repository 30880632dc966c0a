"""`longboard-worker site ...`: submit, watch and read from a terminal, through the same client as any script."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from longboard_worker.api import ApiError, Longboard


def add_site_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    site = commands.add_parser("site", help="submit to a site, watch a submission, read numbers")
    site.add_argument("--site", default=os.environ.get("LONGBOARD_SITE", "http://127.0.0.1:8000"))
    kinds = site.add_subparsers(required=True, metavar="WHAT")

    submit = kinds.add_parser("submit", help="submit a model; needs LONGBOARD_TOKEN")
    submit.add_argument("--model", required=True)
    submit.add_argument("--suites", required=True, help="niah,efficiency")
    submit.add_argument("--lengths", required=True, help="context lengths in tokens: 1024,4096")
    submit.add_argument("--pools", required=True)
    submit.add_argument("--note", default="")
    submit.add_argument("--wait", action="store_true", help="until every run has ended")
    submit.set_defaults(run=_told(submit_command))

    watch = kinds.add_parser("watch", help="the state of a submission's runs, until they have ended")
    watch.add_argument("submission")
    watch.set_defaults(run=_told(watch_command))

    numbers = kinds.add_parser("numbers", help="published numbers, tab-separated")
    for name in ("suite", "metric", "system", "hardware"):
        numbers.add_argument(f"--{name}", default="")
    numbers.add_argument("--length", type=int, default=0)
    numbers.set_defaults(run=_told(numbers_command))


def _client(args: argparse.Namespace) -> Longboard:
    # From the environment alone: other users of a machine can read a command line.
    return Longboard(args.site, token=os.environ.get("LONGBOARD_TOKEN", ""))


def _told(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        try:
            return command(args)
        except ApiError as error:
            print(f"{error.code}: {error.message}", file=sys.stderr)
            return 1

    return run


def submit_command(args: argparse.Namespace) -> int:
    site = _client(args)
    submission = site.submit(
        model=args.model,
        suites=args.suites.split(","),
        context_lengths=[int(n) for n in args.lengths.split(",")],
        pools=args.pools.split(","),
        note=args.note,
    )
    print(submission.url)
    if not args.wait:
        return 0
    args.submission = str(submission.id)
    return watch_command(args)


def watch_command(args: argparse.Namespace) -> int:
    site = _client(args)
    submission = site.wait(args.submission)
    for run in submission.runs:
        print(f"{run.state}\t{run.suite}\t{run.context_length}\t{run.url}\t{run.failure_message}".rstrip())
    return 0 if submission.state == "accepted" else 1


def numbers_command(args: argparse.Namespace) -> int:
    filters = {name: getattr(args, name) for name in ("suite", "metric", "system", "hardware") if getattr(args, name)}
    if args.length:
        filters["context_length"] = args.length
    for n in _client(args).measurements(**filters):
        low, high = f"{n.ci_low:g}", f"{n.ci_high:g}"
        print(
            "\t".join([n.system, n.suite, n.task, n.metric, str(n.context_length), f"{n.value:g}", low, high, str(n.n)])
        )
    return 0
