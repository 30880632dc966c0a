"""`longboard-worker site ...`: submit, watch and read from a terminal, through the same client as any script."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longboard_worker.api import Longboard
from longboard_worker.api.calls import ApiError

# Where a number is, what it is, and how sure: without hardware and depth two rows could not be told apart.
NUMBER_COLUMNS = (
    "system", "hardware", "suite", "task", "metric", "context_length", "depth", "value", "ci_low", "ci_high", "n", "unit",
)  # fmt: skip


def add_site_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    site = commands.add_parser("site", help="submit to a site, watch a submission, read numbers")
    site.add_argument("--site", default=os.environ.get("LONGBOARD_SITE", "http://127.0.0.1:8000"))
    kinds = site.add_subparsers(required=True, metavar="WHAT")

    submit = kinds.add_parser("submit", help="submit a model; needs LONGBOARD_TOKEN")
    submit.add_argument("--model", required=True)
    submit.add_argument("--suites", required=True, help="niah,efficiency")
    submit.add_argument("--lengths", default="", help="context lengths in tokens: 1024,4096; none for lra")
    submit.add_argument("--tasks", default="", help="some tasks alone: niah/vt, lra/listops")
    submit.add_argument(
        "--configuration", type=json.loads, default={}, help='of an architecture (lra), as JSON: {"causal": true}'
    )
    submit.add_argument("--pools", required=True)
    submit.add_argument("--note", default="")
    submit.add_argument("--wait", action="store_true", help="until every run has ended")
    submit.set_defaults(run=_told(submit_command))

    watch = kinds.add_parser("watch", help="the state of a submission's runs, until they have ended")
    watch.add_argument("submission")
    watch.set_defaults(run=_told(watch_command))

    numbers = kinds.add_parser("numbers", help="published numbers, tab-separated under a line of names")
    for name in ("suite", "metric", "system", "hardware"):
        numbers.add_argument(f"--{name}", default="")
    numbers.add_argument("--length", type=int, default=0)
    numbers.set_defaults(run=_told(numbers_command))

    report = kinds.add_parser("report", help="post results of your own, self-reported; needs LONGBOARD_TOKEN")
    report.add_argument("numbers", type=Path, help="CSV file: suite,task,metric,context_length,value,ci_low,ci_high,n")
    for name, about in (("model", "yours"), ("hardware", "as it is called"), ("source", "web address of the results")):
        report.add_argument(f"--{name}", required=True, help=about)
    for name, usual in (("method", "none"), ("dtype", "bfloat16"), ("note", "")):
        report.add_argument(f"--{name}", default=usual)
    report.add_argument("--budget", type=float, default=1.0)
    report.set_defaults(run=_told(report_command))

    upload = kinds.add_parser("upload", help="upload a folder with safetensors; needs LONGBOARD_TOKEN")
    upload.add_argument("folder", type=Path)
    upload.add_argument("--title", required=True)
    upload.add_argument("--licence", default="")
    upload.set_defaults(run=_told(upload_command))

    withdraw = kinds.add_parser("withdraw", help="take a report of yours off the boards")
    withdraw.add_argument("report", type=int)
    withdraw.add_argument("--because", default="")
    withdraw.set_defaults(run=_told(withdraw_command))


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
    more: dict[str, Any] = {"tasks": args.tasks.split(",")} if args.tasks else {}
    if args.configuration:
        more["configuration"] = args.configuration
    submission = site.submit(
        model=args.model,
        suites=args.suites.split(","),
        context_lengths=[int(n) for n in args.lengths.split(",") if n],
        pools=args.pools.split(","),
        note=args.note,
        **more,
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
    print("\t".join(NUMBER_COLUMNS))
    for number in _client(args).measurements(**filters):
        print("\t".join(_field(getattr(number, column)) for column in NUMBER_COLUMNS))
    return 0


def _field(value: str | int | float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def report_command(args: argparse.Namespace) -> int:
    try:
        numbers = read_numbers(args.numbers)
    except (OSError, ValueError) as error:
        print(f"{args.numbers}: {error}", file=sys.stderr)
        return 1
    report = _client(args).report(
        model=args.model,
        hardware=args.hardware,
        source=args.source,
        numbers=numbers,
        method=args.method,
        budget=args.budget,
        dtype=args.dtype,
        note=args.note,
    )
    print(f"{report.url}\t{len(report.numbers)} numbers, {report.trust}")
    return 0


def read_numbers(path: Path) -> list[dict[str, str | int | float]]:
    """The rows of a CSV file with a header. Raises ValueError with the line at fault."""
    kinds: dict[str, Callable[[str], int | float]] = {
        "context_length": int, "n": int, "value": float, "ci_low": float, "ci_high": float,
    }  # fmt: skip
    found = []
    with path.open(newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if set(rows.fieldnames or ()) != {"suite", "task", "metric", *kinds}:
            raise ValueError(f"the first line must name suite,task,metric,{','.join(kinds)}, not {rows.fieldnames}.")
        for row in rows:
            try:
                found.append({name: kinds.get(name, str)(value.strip()) for name, value in row.items()})
            except (ValueError, AttributeError) as error:
                raise ValueError(f"line {rows.line_num}: {error}") from error
    return found


def withdraw_command(args: argparse.Namespace) -> int:
    report = _client(args).withdraw_report(args.report, because=args.because)
    print(f"{report.url}\twithdrawn")
    return 0


# Of a folder as `save_pretrained` writes it; whatever else lies there stays at home.
TAKEN = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*", "merges.txt", "vocab.*",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
)  # fmt: skip


def upload_command(args: argparse.Namespace) -> int:
    files = sorted({path for pattern in TAKEN for path in args.folder.glob(pattern) if path.is_file()})
    if not files:
        print(f"{args.folder} holds no checkpoint: it needs config.json and *.safetensors.", file=sys.stderr)
        return 1

    def tell(sent: int, total: int) -> None:
        print(f"\r{100 * sent // total} % of {total:,} bytes", end="", file=sys.stderr, flush=True)

    model = _client(args).upload(files, title=args.title, licence=args.licence, on_progress=tell)
    print(file=sys.stderr)
    print(model.slug)
    return 0
