"""The engine with no platform at all: `run` makes a signed bundle of a spec, `evaluate` prints a model's numbers.

Heavy imports happen inside the command that needs them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from longboard_tasks.contract import Progress, ResultBundle, RunSpec, SignedTicket
from longboard_worker.identity import load_enrolment, load_key, sign


def add_engine_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run a spec or an exported run with no platform at all, into a bundle file")
    run.add_argument("spec", type=Path)
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--models", type=Path, default=None)
    run.set_defaults(run=run_command)

    evaluate = commands.add_parser("evaluate", help="evaluate one model on one suite here and print the numbers")
    evaluate.add_argument("--model", required=True, help="a zoo id, owner/name@commit of a hub, or a folder")
    evaluate.add_argument("--suite", required=True)
    evaluate.add_argument("--lengths", required=True, help="context lengths in tokens: 1024,4096")
    evaluate.add_argument(
        "--tasks", default="", help="some of the suite's tasks: single,vt; all that fit when left out"
    )
    evaluate.add_argument("--samples", type=int, default=0, help="per task; the suite's default when left out")
    evaluate.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--models", type=Path, default=None)
    evaluate.add_argument("--json", action="store_true", help="print the bundles as JSON lines")
    evaluate.set_defaults(run=evaluate_command)


def run_command(args: argparse.Namespace) -> int:
    """The air-gapped path: the same engine, and a signed bundle for a later upload."""
    from longboard_tasks.engine.errors import EvaluationError
    from longboard_tasks.evaluate import evaluate
    from longboard_worker.provenance import with_provenance
    from longboard_worker.tickets import TicketRefused, open_ticket

    order = json.loads(args.spec.read_text())
    names: dict[str, Any] = {"attempt_id": "", "fence": 0}
    node = ticket_id = ""
    try:
        if "payload" in order:  # of export-run
            ticket = open_ticket(SignedTicket.model_validate(order), load_enrolment(args.home))
            spec, node, ticket_id = ticket.run, ticket.node, ticket.ticket_id
            names = {"attempt_id": ticket.attempt_id, "fence": ticket.fence}
        else:
            spec = RunSpec.model_validate(order)
        with tempfile.TemporaryDirectory() as work_dir, Bar() as bar:
            bundle = evaluate(
                spec,
                work_dir=Path(work_dir),
                models_dir=args.models,
                on_progress=bar.show,
                **names,
            )
    except TicketRefused as error:
        print(error, file=sys.stderr)
        return 2
    except EvaluationError as error:
        print(f"{error.failure_class}: {error}", file=sys.stderr)
        return 1
    bundle = with_provenance(bundle, network="open", node=node, ticket_id=ticket_id)
    partial = args.out.with_name(args.out.name + ".part")
    partial.write_text(sign(bundle, load_key(args.home)).model_dump_json())
    partial.replace(args.out)
    print(f"Wrote {args.out}")
    return 0


def evaluate_command(args: argparse.Namespace) -> int:
    from longboard_tasks.catalogue.names import UnknownName
    from longboard_tasks.catalogue.suites import find_suite
    from longboard_worker.modelnames import model_ref, models_folder

    try:
        suite = find_suite(args.suite)
        lengths = [int(length) for length in args.lengths.split(",")]
        wanted = [suite.task(name).name for name in args.tasks.split(",") if name]
        ref = model_ref(args.model)
        specs = [
            RunSpec.model_validate(
                {
                    "run_id": f"local-{suite.name}-{length}",
                    "system": {"model": ref, "runtime": {"dtype": args.dtype}},
                    "suite": suite.name,
                    "suite_version": suite.version,
                    # Those that the length is too short for are left out, unless they were asked for by name.
                    "tasks": wanted or [t.name for t in suite.tasks if t.least_context_length <= length],
                    "context_length": length,
                    "samples": args.samples or suite.default_samples,
                    "seed": args.seed,
                }
            )
            for length in lengths
        ]
    except (UnknownName, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    from longboard_tasks.engine.errors import EvaluationError
    from longboard_tasks.evaluate import evaluate_many

    with tempfile.TemporaryDirectory() as work_dir, Bar() as bar:
        bundles = evaluate_many(
            specs,
            work_dir=Path(work_dir),
            models_dir=models_folder(args.model, args.models),
            on_progress=lambda spec, progress: bar.show(progress, f"{suite.label} at {spec.context_length} "),
        )
        try:
            for bundle in bundles:
                bar.clear()
                print(bundle.model_dump_json() if args.json else _table(bundle), flush=True)
        except EvaluationError as error:
            bar.clear()
            print(f"{error.failure_class}: {error}", file=sys.stderr)
            return 1
    return 0


def _table(bundle: ResultBundle) -> str:
    width = max((len(f"{m.task}/{m.metric}") for m in bundle.measurements), default=0)
    rows = [
        f"  {m.task + '/' + m.metric:<{width}} {'' if m.depth is None else f'depth {m.depth:.2f}':<12}"
        f"{m.value:>14,.4g} {m.unit:<9} [{m.ci_low:,.4g}, {m.ci_high:,.4g}] n={m.n}"
        for m in bundle.measurements
    ]
    title = f"{bundle.run.suite}@{bundle.run.suite_version} at {bundle.run.context_length} tokens"
    return "\n".join([f"{title}, {bundle.manifest.wall_s:.1f} s, prefix {bundle.manifest.prefix_mode}", *rows])


class Bar:
    """Progress on a terminal's last line; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()

    def __enter__(self) -> Bar:
        return self

    def show(self, progress: Progress, title: str = "") -> None:
        if not self.is_shown:
            return
        share = progress.done / progress.total if progress.total else 0.0
        filled = round(30 * share)
        eta = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s left"
        text = f"{title}[{'#' * filled}{'.' * (30 - filled)}] {progress.done}/{progress.total}{eta}"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        self.clear()
