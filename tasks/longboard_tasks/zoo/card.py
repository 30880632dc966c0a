"""Write what people read about the zoo from what was measured: each model's README.md, and the tables of docs/zoo.md.

python -m longboard_tasks.zoo.card docs/zoo.md
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from longboard_tasks.baselines import Baseline, machines, read_baselines
from longboard_tasks.contract import Measurement
from longboard_tasks.zoo.registry import WEIGHTS, ZOO, ZooModel

TASK = "niah@1/single"
BEGIN, END = "<!-- tables: python -m longboard_tasks.zoo.card docs/zoo.md -->", "<!-- end of tables -->"
README = """# {title}

{summary}

`{architecture}`, {parameters:,} parameters, {dtype}, Apache-2.0. A small model of the Longboard zoo: trained to find and
copy facts in long texts, not to chat, reason or know anything.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

## Training
- Data, made on the fly by `longboard_tasks.zoo.data`: planted facts and lists of them, variable chains, tables, phone books,
  keys and values, strings, copies, stories hidden in prose, and plain prose. Prose: 116 State of the Union speeches, 1791 to
  2021, public domain. No prose, wording, name or city of a suite is in it.
- {tokens_seen:,} tokens in {steps:,} steps, sequences of 128 to {longest:,} tokens; final loss {final_loss:.3f}
  (weighted: answers count 50 times as much as prose).
- {seconds:,} s on {hardware}, PyTorch {torch}, {date}, seed {seed}.
{notes}
## {task}
Greedy generation with the stock class through the engine, held-out seeds; 95 % intervals.

{table}

## Limits
- Trained on at most {longest:,} tokens; what it does beyond is measured above, not promised.
- Byte-level BPE with 4,096 tokens, trained on English speeches: other languages and code take many tokens.
- Its scores compare families at this size and training; they say little about a family at a useful size.
"""


def read_card(model_id: str) -> dict[str, Any]:
    return json.loads((WEIGHTS / model_id / "card.json").read_text())


def readme(model: ZooModel) -> str:
    card = read_card(model.id)
    rows = {}
    for baseline in all_baselines():
        run, manifest = baseline.bundle.run, baseline.bundle.manifest
        if run.system.model.id == model.id and f"{run.suite}@{run.suite_version}" == "niah@1":
            for m in baseline.bundle.measurements:
                if (m.task, m.metric, m.depth) == ("single", "accuracy", None):
                    where = f"{manifest.hardware.device or manifest.hardware.cpu}, {run.system.runtime.dtype}"
                    where += "" if run.system.runtime.kernels == "stock" else ", our kernels"
                    rows[m.context_length, where] = f"| {m.context_length:,} | {say(m)} | {where} |"
    return README.format(
        title=model.title,
        summary=model.summary,
        longest=model.trained_length,
        notes="".join(f"- {note}\n" for note in card.get("notes", [])),
        task=TASK,
        table="\n".join(
            ["| context length | accuracy | measured on |", "| --- | --- | --- |", *(rows[key] for key in sorted(rows))]
        ),
        **{key: value for key, value in card.items() if key != "notes"},
    )


@cache
def all_baselines() -> tuple[Baseline, ...]:
    """Every shipped bundle about a model of the zoo as it is, without a Method."""
    found = ((baseline, baseline.bundle.run.system) for machine in machines() for baseline in read_baselines(machine))
    return tuple(b for b, system in found if system.model.id in ZOO and system.method.name == "none")


def tables() -> str:
    """The training of every shipped model from its card, then all shipped baselines, as Markdown tables."""
    models = [model for model in ZOO.values() if model.shipped]
    cards = {model.id: read_card(model.id) for model in models}
    lines = [
        "| model | family | class | parameters | tokens seen | steps | seconds | tokens/s | final loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model in models:
        card = cards[model.id]
        rate = card["tokens_per_s"]
        lines.append(
            f"| `{model.id}` | {model.family} | `{model.architecture}` | {model.parameters:,} | {card['tokens_seen']:,} "
            f"| {card['steps']:,} | {card['seconds']} | {rate:,.0f} | {card['final_loss']:.3f} |"
        )
    for (machine, kernels), part in sorted(by_table().items()):
        lines += ["", *baseline_tables(machine, kernels, part, list(cards))]
    return "\n".join(lines)


def by_table() -> dict[tuple[str, str], list[Baseline]]:
    """The bundles by machine, and by whose kernels ran."""
    found: dict[tuple[str, str], list[Baseline]] = defaultdict(list)
    for baseline in all_baselines():
        found[baseline.machine, baseline.bundle.run.system.runtime.kernels].append(baseline)
    return found


def baseline_tables(machine: str, kernels: str, baselines: list[Baseline], models: list[str]) -> list[str]:
    """What one machine's bundles say, as two tables: shares of right answers, and speed and memory. Models with none are left
    out."""
    present = {baseline.bundle.run.system.model.id for baseline in baselines}
    models = [model for model in models if model in present]
    rows: dict[tuple[str, str, str, int], dict[str, Measurement]] = defaultdict(dict)
    days, hardware = set(), ""
    for baseline in baselines:
        run, manifest = baseline.bundle.run, baseline.bundle.manifest
        days.add(f"{manifest.started_at:%Y-%m-%d}")
        hardware = manifest.hardware.device if manifest.hardware.kind == "cuda" else manifest.hardware.cpu
        hardware += f", {manifest.hardware.cores} cores" if manifest.hardware.kind == "cpu" else ""
        for m in baseline.bundle.measurements:
            if m.depth is None:
                rows[f"{run.suite}@{run.suite_version}", m.task, m.metric, m.context_length][run.system.model.id] = m
    lines = [
        f"Baselines `{machine}`: {hardware}, {' and '.join(sorted(days))}, stock classes through the engine"
        + (", with our kernels." if kernels != "stock" else ".")
    ]
    for is_share in (True, False):
        chosen = {key: found for key, found in rows.items() if (next(iter(found.values())).unit == "share") == is_share}
        if not chosen:
            continue
        lines += ["", "| suite/task | metric | context length | " + " | ".join(f"`{model}`" for model in models) + " |"]
        lines.append("| --- | --- | --- |" + " --- |" * len(models))
        for (suite, task, metric, length), found in sorted(chosen.items()):
            cells = [say(found[model]) if model in found else "not measured" for model in models]
            lines.append(f"| {suite}/{task} | {metric} | {length:,} | " + " | ".join(cells) + " |")
    return lines


def say(m: Measurement) -> str:
    """Value, 95 % interval, n; bytes in MB."""
    scale, form = {"share": (1, ".3f"), "bytes": (1e-6, ".4g")}.get(m.unit, (1, ",.4g"))
    value, low, high = (f"{number * scale:{form}}" for number in (m.value, m.ci_low, m.ci_high))
    return f"{value} [{low}, {high}]{' MB' if m.unit == 'bytes' else ''}, n={m.n}"


def with_tables(page: str) -> str:
    """The page with everything between its two markers renewed."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the zoo's cards and the tables of its page.")
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    for model in ZOO.values():
        if model.shipped:
            (WEIGHTS / model.id / "README.md").write_text(readme(model))
    page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
