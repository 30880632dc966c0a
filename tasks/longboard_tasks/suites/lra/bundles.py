"""From the output folder of benchmarks/lra/run.py to result bundles in the form that nodes hand in, one Run each, unsigned.

    python -m longboard_tasks.suites.lra.bundles OUT BUNDLES [--without-rates MIXER ...]
    python -m longboard_tasks.baselines.pack BUNDLES --machine h100-80gb-lra --key KEY

OUT has check.json, efficiency.json and listops/NAME/{outcome.json, curve.jsonl, predictions.npy}, and the
examples in cache/. Where a training's model.safetensors came back, too, its digest goes along. What is no Run of lra@1 is
named and left out: another budget than a recipe's, trainings that time cut short, files that did not come back or are of an
older benchmark, parameters off the rule, an architecture found wrong on the device, another device, a pass that did not fit.

--without-rates: trainings beside which the machine had other work. Accuracy and memory are theirs; their tokens a second would be
those of the other work, and are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from longboard_tasks.contract import (
    HardwareReport,
    Manifest,
    ModelRef,
    ResultBundle,
    RunSpec,
    Runtime,
    SystemSpec,
)
from longboard_tasks.engine.errors import OutOfMemory
from longboard_tasks.suites.lra.architectures import SLACK, Variant, batch_of, canonical, check_architecture
from longboard_tasks.suites.lra.bundle_parts import parts_of_clock, parts_of_training
from longboard_tasks.suites.lra.efficiency import PASSES, Cell
from longboard_tasks.suites.lra.examples import open_examples
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, Recipe, find_task
from longboard_tasks.suites.lra.train import PREDICTIONS, Outcome, Plan

NEEDED = (PREDICTIONS, "curve.jsonl")  # beside outcome.json


class NoRun(ValueError):
    """A result that is no Run of lra@1; the message says why."""


OUTCOME, PLAN = ({field.name for field in fields(form)} for form in (Outcome, Plan))
Made = tuple[str, ResultBundle | NoRun]  # what it is about, and what came of it


def bundles_of(out: Path, *, without_rates: Collection[str] = ()) -> Iterator[Made]:
    """Trainings first, then the clock. Raises FileNotFoundError without check.json, which says what was measured on.

    without_rates: mixers whose trainings shared the machine."""
    checked = json.loads((out / "check.json").read_text())
    wrong = {row["mixer"] for row in checked["rows"] if not row["is_right"]}
    groups: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    for path in sorted(out.glob("listops/*/outcome.json")):
        architecture = json.loads(path.read_text())["plan"]["architecture"]
        groups[architecture["mixer"], architecture["causal"]].append(path.parent)
    for (mixer, causal), folders in groups.items():
        made = _or_why(_trained, out, checked, wrong, mixer, folders)
        if isinstance(made, ResultBundle) and mixer in without_rates:
            made = leave_rates_out(made)
        yield f"listops {mixer}{' causal' if causal else ''}", made
    timed = out / "efficiency.json"
    found = json.loads(timed.read_text()) if timed.exists() else {"rows": []}
    cells: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in found["rows"]:
        cells[row["mixer"], row["tokens"]].append(row)
    for (mixer, tokens), rows in cells.items():
        yield f"{SPEED} {mixer} {tokens}", _or_why(_timed, found, wrong, mixer, tokens, rows)


def leave_rates_out(bundle: ResultBundle) -> ResultBundle:
    """The same Run without its tokens a second; its manifest says so."""
    settings = bundle.manifest.settings | {"rates": "left out: the machine had other work"}
    return bundle.model_copy(
        update={
            "measurements": tuple(row for row in bundle.measurements if row.unit != "tokens/s"),
            "manifest": bundle.manifest.model_copy(update={"settings": settings}),
        }
    )


def _or_why(make: Any, *arguments: Any) -> ResultBundle | NoRun:
    try:
        return make(*arguments)
    except NoRun as error:
        return error
    except OutOfMemory as error:
        return NoRun(str(error))


def recipe_of(outcome: Mapping[str, Any]) -> tuple[str, Recipe]:
    """The task of lra@1 whose recipe an outcome followed. Raises NoRun when there is none."""
    plan = outcome["plan"]
    for name, recipe in RECIPES.items():
        same = (
            plan["task"] == recipe.task
            and plan["budget"] == asdict(recipe.budget)
            and plan["patience"] == 0
            and plan["shape"] == (asdict(recipe.shape) if recipe.shape else None)
            and tuple(outcome["examples"].values()) == recipe.examples
            and outcome["stand_in"] == recipe.stand_in
        )
        if same:
            return name, recipe
    raise NoRun(
        f"{plan['budget']['steps']} steps of {plan['budget']['batch']} on {outcome['examples']} is the budget of no task of "
        f"lra@1. {', '.join(name for name, recipe in RECIPES.items() if recipe.task == plan['task'])} have others."
    )


def _trained(out: Path, checked: Mapping[str, Any], wrong: set[str], mixer: str, folders: list[Path]) -> ResultBundle:
    if mixer in wrong:
        raise NoRun(f"{mixer} is wrong on this device (check.json)")
    told = [(folder, json.loads((folder / "outcome.json").read_text())) for folder in folders]
    told = sorted(told, key=lambda pair: pair[1]["plan"]["seed"])
    if short := [outcome for _, outcome in told if outcome["stopped"] != "budget"]:
        told = [pair for pair in told if pair[1] not in short]
        if not told:
            raise NoRun(f"ended by {short[0]['stopped']}, after {short[0]['steps']} steps")
    for folder, outcome in told:
        if missing := [file for file in NEEDED if not (folder / file).exists()]:
            raise NoRun(
                f"no predictions: {folder.name} has no {' and no '.join(missing)}; bring {' and '.join(NEEDED)}"
            )
        if missing := sorted(OUTCOME - set(outcome) | PLAN - set(outcome["plan"])):
            raise NoRun(f"{folder.name} is of an older benchmark, whose outcome.json has no {', '.join(missing)}")
    name, recipe = recipe_of(told[0][1])
    report = HardwareReport.model_validate(checked["hardware"])
    for folder, outcome in told:
        if not outcome["within_budget"]:
            raise NoRun(f"{folder.name} has {outcome['parameters']:,} parameters, more than {SLACK:.0%} off the rule")
        if (outcome["device"] != report.device) if report.kind == "cuda" else outcome["device"] != "CPU":
            raise NoRun(f"{folder.name} was trained on {outcome['device']}; check.json is of {report.device}")
        if recipe_of(outcome)[0] != name or outcome["dtype"] != told[0][1]["dtype"]:
            raise NoRun(f"{folder.name} had another budget or precision than {told[0][0].name}")
    seeds = [outcome["plan"]["seed"] for _, outcome in told]
    if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        raise NoRun(f"seeds {seeds} are not one after the other")
    variant = _variant(told[0][1]["plan"]["architecture"])
    length = find_task(recipe.task).length
    outcomes = [Outcome(**outcome) for _, outcome in told]
    spec = _spec(
        variant, name, length, outcomes[0].dtype, samples=len(seeds), seed=seeds[0], when=outcomes[0].measured_at
    )
    test = open_examples(recipe.task, "test", count=recipe.examples[2], cache=out / "cache")
    if test.sha256 != outcomes[0].data_sha256["test"]:
        raise NoRun("the test examples of this version are not those that it was tested on")
    parts = parts_of_training(spec, variant, outcomes, [folder for folder, _ in told], test)
    return _bundle(spec, parts, checked, outcomes[0].measured_at, wall_s=sum(outcome.train_s for outcome in outcomes))


def _timed(
    found: Mapping[str, Any], wrong: set[str], mixer: str, tokens: int, rows: list[dict[str, Any]]
) -> ResultBundle:
    if mixer in wrong:
        raise NoRun(f"{mixer} is wrong on this device (check.json)")
    if "measured_at" not in found:
        raise NoRun("efficiency.json is of an older benchmark: it has no measured_at")
    by_pass = {row["what"]: row for row in rows}
    if failed := [row for row in rows if row.get("failure")]:
        raise NoRun(f"{failed[0]['what'] or 'both passes'}: {failed[0]['failure']}")
    if set(by_pass) != set(PASSES):
        raise NoRun(f"has {', '.join(by_pass)}; a Run has {' and '.join(PASSES)}")
    variant, dtype = _variant({"mixer": mixer}), "bfloat16" if found["hardware"]["kind"] == "cuda" else "float32"
    if f"{SPEED}@{tokens}" not in variant.sizes:
        raise NoRun(f"{tokens} tokens are no length of lra/{SPEED}")
    if found["hardware"]["kind"] == "cuda" and rows[0]["batch"] != batch_of(SPEED, tokens):
        raise NoRun(f"batch {rows[0]['batch']}, where lra/{SPEED} has {batch_of(SPEED, tokens)}")
    names = {field.name for field in fields(Cell)}
    cells = [Cell(**{name: value for name, value in by_pass[what].items() if name in names}) for what in PASSES]
    if cells[0].parameters != variant.sizes[f"{SPEED}@{tokens}"].parameters:
        raise NoRun(f"{cells[0].parameters:,} parameters; {variant.title} has others now")
    spec = _spec(
        variant, SPEED, tokens, dtype, samples=min(cell.repeats for cell in cells), seed=0, when=found["measured_at"]
    )
    wall_s = sum(cell.ms * cell.repeats for cell in cells) / 1_000
    return _bundle(spec, parts_of_clock(spec, variant, cells), found, found["measured_at"], wall_s=wall_s)


def _variant(architecture: Mapping[str, Any]) -> Variant:
    options = dict(architecture.get("options", {}))
    causal = {"causal": True} if architecture.get("causal") else {}
    return check_architecture(architecture["mixer"], canonical(architecture["mixer"], causal | options))


def _spec(variant: Variant, task: str, length: int, dtype: str, *, samples: int, seed: int, when: str) -> RunSpec:
    model = ModelRef(source="architecture", id=variant.name, configuration=variant.configuration)
    system = SystemSpec(model=model, runtime=Runtime.model_validate({"dtype": dtype}))
    return RunSpec(
        run_id=_id("run", when, system.digest, task, length), system=system, suite="lra", suite_version=1, tasks=(task,),
        context_length=length, samples=samples, seed=seed,
    )  # fmt: skip


def _bundle(
    spec: RunSpec, parts: dict[str, Any], facts: Mapping[str, Any], when: str, *, wall_s: float
) -> ResultBundle:
    return ResultBundle(
        run=spec,
        attempt_id=_id("attempt", when, spec.system.digest, spec.tasks[0], spec.context_length),
        fence=1,
        manifest=Manifest(
            hardware=HardwareReport.model_validate(facts["hardware"]),
            software=facts["software"],
            started_at=datetime.fromisoformat(when),
            wall_s=wall_s,
            **parts.pop("manifest"),
        ),
        **parts,
    )


def _id(what: str, when: str, system: str, task: str, length: int) -> str:
    """The same output gives the same ids, so that a second load of its bundles finds the first."""
    return str(uuid5(NAMESPACE_URL, f"longboard:lra:{what}:{when}:{system}:{task}:{length}"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make result bundles of the output of benchmarks/lra/run.py.")
    parser.add_argument("out", type=Path, help="what --out was")
    parser.add_argument("bundles", type=Path, help="a folder: one below it for each architecture")
    parser.add_argument(
        "--without-rates", nargs="+", default=[], metavar="MIXER", help="trainings that shared the machine"
    )
    arguments = parser.parse_args(argv)
    count = 0
    for about, made in bundles_of(arguments.out, without_rates=arguments.without_rates):
        if isinstance(made, NoRun):
            print(f"left out: {about}: {made}")
            continue
        folder = arguments.bundles / f"lra-{made.run.system.model.id}".replace("_", "-")
        folder.mkdir(parents=True, exist_ok=True)
        way = "-causal" if made.run.system.model.configuration.get("causal") else ""
        path = folder / f"{made.run.tasks[0]}{way}-{made.run.context_length}.json"
        path.write_text(made.model_dump_json())
        count += 1
    print(f"{count} bundles in {arguments.bundles}")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
