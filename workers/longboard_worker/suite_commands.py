"""`longboard-worker suites list | show | sample | score`: how anyone reads a suite, and reproduces a number from answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

from longboard_tasks.catalogue.names import UnknownName
from longboard_tasks.catalogue.suites import SUITES, SuiteInfo, find_suite
from longboard_tasks.intervals import wilson
from longboard_worker.modelnames import model_ref, models_folder


def add_suite_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="list | show | sample | score")
    commands.add_parser("list", help="every suite with its tasks").set_defaults(run=list_command)

    show = commands.add_parser("show", help="one suite: tasks, chance, metrics, least lengths")
    show.add_argument("suite")
    show.set_defaults(run=show_command)

    sample = commands.add_parser("sample", help="print samples as JSON lines: prompt, target, depth")
    sample.add_argument("suite")
    sample.add_argument("task")
    sample.add_argument("--length", type=int, required=True, help="context length in tokens")
    sample.add_argument("--count", type=int, default=1)
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--model", default="llama-3m", help="whose tokenizer: a zoo id or a folder")
    sample.add_argument("--models", type=Path, default=None)
    sample.set_defaults(run=sample_command)

    score = commands.add_parser("score", help='score JSON lines of {"task", "index", "answer"}; prints a result a task')
    score.add_argument("suite")
    score.add_argument("answers", type=Path)
    score.add_argument("--length", type=int, required=True)
    score.add_argument("--seed", type=int, default=0)
    score.set_defaults(run=score_command)


def list_command(args: argparse.Namespace) -> int:
    for suite in SUITES.values():
        print(f"{suite.label:<14}{suite.title}: {suite.summary}")
        print("    " + ", ".join(task.name for task in suite.tasks))
    return 0


def show_command(args: argparse.Namespace) -> int:
    try:
        suite = find_suite(args.suite)
    except UnknownName as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{suite.label}  {suite.title}\n{suite.summary}\n")
    print(f"{'task':<20}{'title':<34}{'chance':>7}{'least length':>14}  metrics")
    for task in suite.tasks:
        metrics = ", ".join(task.metrics)
        print(f"{task.name:<20}{task.title:<34}{task.chance:>7.2f}{task.least_context_length:>14}  {metrics}")
    return 0


def sample_command(args: argparse.Namespace) -> int:
    suite = _find(args.suite, args.task)
    if suite is None:
        return 2
    from transformers import AutoTokenizer

    from longboard_tasks.engine.errors import EvaluationError
    from longboard_tasks.engine.loading import find_folder

    module = import_module(f"longboard_tasks.suites.{suite.name}.suite")
    try:
        folder = find_folder(model_ref(args.model), models_folder(args.model, args.models))
        if folder is None:
            print(
                "--model must be a zoo id or a folder here: a sample needs a tokenizer on this machine.",
                file=sys.stderr,
            )
            return 2
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        for index in range(args.count):
            sample = module.make_sample(
                task=args.task, context_length=args.length, seed=args.seed, index=index, tokenizer=tokenizer
            )
            row = {
                "task": args.task,
                "index": index,
                "tokens": len(sample.ids),
                "depth": sample.depth,
                "target": sample.target,
                "prompt": tokenizer.decode(sample.ids),
            }
            print(json.dumps(row, ensure_ascii=False))
    except (EvaluationError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def score_command(args: argparse.Namespace) -> int:
    """Targets follow from (version, task, length, seed, index), so answers are all that is needed."""
    suite = _find(args.suite)
    if suite is None:
        return 2
    plan = import_module(f"longboard_tasks.suites.{suite.name}.plan")
    scoring = import_module(f"longboard_tasks.suites.{suite.name}.scoring")
    scores: dict[str, list[float]] = defaultdict(list)
    try:
        lines = args.answers.read_text().splitlines()
    except OSError as error:
        print(f"{args.answers}: {error.strerror}.", file=sys.stderr)
        return 2
    for number, line in enumerate(lines, 1):
        try:
            answer: dict[str, Any] = json.loads(line)
            suite.task(answer["task"])
            asked = plan.expected(
                answer["task"], context_length=args.length, seed=args.seed, index=int(answer["index"])
            )
            scores[answer["task"]].append(scoring.score(answer["task"], str(answer["answer"]), asked.target))
        except (ValueError, KeyError, TypeError) as error:
            print(f'{args.answers}, line {number}: {error}. It needs "task", "index" and "answer".', file=sys.stderr)
            return 2
    for task, values in scores.items():
        share = min(1.0, sum(values) / len(values))
        low, high = wilson(share, len(values))
        print(f"{suite.label}/{task:<18} accuracy {share:.4f} [{low:.4f}, {high:.4f}] n={len(values)}")
    return 0


def _find(name: str, task: str = "") -> SuiteInfo | None:
    """The accuracy suite of that name (and with that task), or None after saying what there is."""
    try:
        suite = find_suite(name)
        if task:
            suite.task(task)
    except UnknownName as error:
        print(error, file=sys.stderr)
        return None
    if suite.trains:
        command = f"python -m longboard_tasks.suites.{suite.name} --help"
        print(
            f"{suite.label} trains architectures: it has no prompts and no answers to score. See `{command}`.",
            file=sys.stderr,
        )
        return None
    if suite.kind != "accuracy":
        print(f"{suite.label} measures speed: it has no samples and no answers.", file=sys.stderr)
        return None
    return suite
