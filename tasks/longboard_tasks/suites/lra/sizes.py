"""Writes architectures.json from the mixers: every architecture that a submission can name, with parameters and FLOPs by task.

    python -m longboard_tasks.suites.lra.sizes

It takes minutes: run it after a change of a mixer, of a shape or of CHOICES; a test says when it is due.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import torch

from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.contract import ModelRef
from longboard_tasks.suites.lra.architectures import PATH, key_of, place_of, shape_of
from longboard_tasks.suites.lra.efficiency import mixer_flops
from longboard_tasks.suites.lra.mixers.base import CAUSAL, MixerConfig
from longboard_tasks.suites.lra.mixers.registry import HYBRIDS, MIXERS, NAMES, directions, fit
from longboard_tasks.suites.lra.model import Architecture, Classifier
from longboard_tasks.suites.lra.runs import architecture_of
from longboard_tasks.suites.lra.tasks import RECIPES, Shape, Task, find_task

# What a request may choose. Any value would run; a closed list is what the platform can check without a layer.
CHOICES = {
    "window": (16, 32, 64, 128, 256),
    "rank": (32, 64, 128, 256),
    "states": (16, 32, 64, 128),
    "convolution": (2, 4),
    "features": (64, 128, 256),
    "block": (32, 64, 128),
}


def table() -> dict[str, Any]:
    """name -> title, source, directions, options, and for each variant the sizes at each place."""
    return {name: _entry(name) for name in NAMES}


def _entry(name: str) -> dict[str, Any]:
    parts = [MIXERS[part] for part in HYBRIDS.get(name, (name,))]
    first = parts[0]
    options = {} if name in HYBRIDS else {option: [first.options[option], CHOICES[option]] for option in first.options}
    layers = [part.title for part in dict.fromkeys(parts)]
    turns = "to".join(f" {parts.count(part)} " for part in dict.fromkeys(parts)).strip()
    return {
        "title": f"{' and '.join(layers)}, {turns}" if name in HYBRIDS else first.title,
        "source": "; ".join(dict.fromkeys(part.source for part in parts)),
        "directions": list(directions(name)),
        "options": options,
        "variants": {key_of(chosen): sizes_of(name, chosen) for chosen in _variants(name, options)},
    }


def _variants(name: str, options: dict[str, Any]) -> Iterator[dict[str, bool | int]]:
    """Every configuration in its canonical form."""
    for direction in directions(name):
        choices = [
            [None, *(value for value in values if value != default or option == "states")]
            for option, (default, values) in options.items()
        ]
        for chosen in product(*choices):
            named = {option: value for option, value in zip(options, chosen, strict=True) if value is not None}
            yield ({"causal": True} if direction == CAUSAL else {}) | named


def sizes_of(name: str, configuration: dict[str, bool | int]) -> dict[str, tuple[int, int, int, float]]:
    """place -> (parameters, widest inner, forward FLOPs of one example, parameters over those of softmax less 1)."""
    architecture = architecture_of(ModelRef(source="architecture", id=name, configuration=configuration))
    found = {}
    for place, (task, tokens) in places().items():
        spec, shape = find_task(RECIPES[task].task if task in RECIPES else "text"), shape_of(task)
        parameters, base = (
            _count(architecture=kind, spec=spec, shape=shape, length=tokens)
            for kind in (architecture, Architecture("softmax", architecture.causal))
        )
        rows = 2 if spec.pair else 1
        # Of the MLPs, two products of width by mlp a token; what the head and the embedding take is small.
        rest = 4 * shape.layers * tokens * shape.width * shape.mlp
        flops = rows * (mixer_flops(architecture, shape, tokens, 1) + rest)
        found[place] = (parameters, _inner(architecture, shape, tokens), flops, round(parameters / base - 1, 4))
    return found


def places() -> dict[str, tuple[str, int]]:
    """Each place once: (a task of the catalogue that stands there, tokens of one row)."""
    found: dict[str, tuple[str, int]] = {}
    for task in SUITES["lra"].tasks:
        for length in task.lengths:
            tokens = find_task(RECIPES[task.name].task).length if task.name in RECIPES else length
            found.setdefault(place_of(task.name, length), (task.name, tokens))
    return found


def _count(*, architecture: Architecture, spec: Task, shape: Shape, length: int) -> int:
    with torch.device("meta"):
        model = Classifier(
            architecture, shape, vocabulary=spec.vocabulary, classes=spec.classes, length=length, pair=spec.pair
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _inner(architecture: Architecture, shape: Shape, tokens: int) -> int:
    base = MixerConfig(shape.width, shape.heads, shape.inner, architecture.causal, tokens + 1, 0, architecture.options)
    return max(fit(architecture.mixer, replace(base, layer=layer)).inner for layer in range(shape.layers))


def main() -> None:
    lines = []
    for name, entry in table().items():
        variants = ",\n  ".join(
            f"{json.dumps(key)}: {json.dumps(sizes, separators=(',', ':'))}"
            for key, sizes in entry.pop("variants").items()
        )
        head = json.dumps(entry)[:-1]
        lines.append(f'{json.dumps(name)}: {head}, "variants": {{\n  {variants}}}}}')
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
