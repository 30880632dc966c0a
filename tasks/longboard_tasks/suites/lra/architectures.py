"""The architectures that a submission can name, and what one costs: parameters and FLOPs by task. No torch, no numpy.

    variant = check_architecture("s4d", {"causal": True, "states": 32})
    variant.size("listops", 2_000).parameters

Read from architectures.json, which `python -m longboard_tasks.suites.lra.sizes` writes from the mixers themselves (and a test
holds to them): the platform checks and prices a request without building a layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, SPEED_BATCH_TOKENS, SPEED_SHAPE, Shape, find_task

PATH = Path(__file__).with_name("architectures.json")
MAX_TRAININGS = 10  # of one Run, each from its own seed
SLACK = 0.1  # parameters may be so far from those of the same model with softmax attention
FAMILIES = {
    "softmax": "full attention",
    "local": "sparse attention",
    "longformer": "sparse attention",
    "linear": "linear attention",
    "performer": "linear attention",
    "linformer": "linear attention",
    "fastformer": "linear attention",
    "aft": "linear attention",
    "aaren": "linear attention",
    "s4d": "state space",
    "mamba": "state space",
    "mamba2": "state space",
    "retention": "gated recurrence",
    "gla": "gated recurrence",
    "rwkv": "gated recurrence",
    "deltanet": "delta rule",
    "gated_deltanet": "delta rule",
    "block_state": "hybrid",
    "hybrid_gated_deltanet": "hybrid",
    "hybrid_mamba2": "hybrid",
    "hybrid_mamba2_local": "hybrid",
}


class ArchitectureError(ValueError):
    """An architecture, a configuration or a pairing with a task that does not exist; `field` says what is at fault."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Size:
    """Of the whole classifier on one task. `flops`: one forward pass of one example at full length."""

    parameters: int
    inner: int  # the widest of the mixers
    flops: int
    off: float  # parameters over those with softmax attention, less 1


@dataclass(frozen=True, slots=True)
class Variant:
    """One architecture with one configuration. `sizes`: see `place_of`."""

    name: str
    title: str
    source: str
    family: str
    configuration: dict[str, bool | int]
    sizes: Mapping[str, Size]

    def size(self, task: str, context_length: int) -> Size:
        return self.sizes[place_of(task, context_length)]

    @property
    def label(self) -> str:
        words = ["causal"] if self.configuration.get("causal") else []
        words += [f"{name} {value}" for name, value in self.configuration.items() if name != "causal"]
        return ", ".join([self.title, *words])


@dataclass(frozen=True, slots=True)
class Known:
    """One registered name: directions, and for each option its default and the values that a request may choose."""

    name: str
    title: str
    source: str
    directions: tuple[str, ...]
    options: Mapping[str, tuple[int, tuple[int, ...]]]

    @property
    def family(self) -> str:
        return FAMILIES[self.name]


@cache
def _table() -> dict[str, dict]:
    return json.loads(PATH.read_text())


@cache
def known() -> dict[str, Known]:
    return {
        name: Known(
            name,
            entry["title"],
            entry["source"],
            tuple(entry["directions"]),
            {option: (default, tuple(values)) for option, (default, values) in entry["options"].items()},
        )
        for name, entry in _table().items()
    }


def find_known(name: str) -> Known:
    """Raises ArchitectureError with the names that there are."""
    if name not in known():
        raise ArchitectureError(f'There is no mixer "{name[:60]}". There are: {", ".join(known())}.', "model")
    return known()[name]


def canonical(name: str, configuration: Mapping[str, bool | int]) -> dict[str, bool | int]:
    """The configuration in one form: what says nothing is left out, so that equal architectures have equal digests.

    Raises ArchitectureError for a name, a direction, an option or a value that does not exist.
    """
    entry = find_known(name)
    causal = configuration.get("causal", False)
    if not isinstance(causal, bool):
        raise ArchitectureError(f'"causal" is true or false, not {causal}.', "configuration")
    wanted = "causal" if causal else "bidirectional"
    if wanted not in entry.directions:
        raise ArchitectureError(
            f"{entry.title} is {' or '.join(entry.directions)} only, not {wanted}.", "configuration"
        )
    found: dict[str, bool | int] = {"causal": True} if causal else {}
    for option, value in sorted(configuration.items()):
        if option == "causal":
            continue
        if option not in entry.options:
            has = ", ".join(("causal", *entry.options))
            raise ArchitectureError(f'{entry.title} has no option "{option[:60]}". It has: {has}.', "configuration")
        default, values = entry.options[option]
        if isinstance(value, bool) or value not in values:
            has = ", ".join(map(str, values))
            raise ArchitectureError(f"{entry.title} takes {option} {has}; not {value}.", "configuration")
        # States that nobody chose shrink with a narrow model: asking for them by their default says something.
        if value != default or option == "states":
            found[option] = value
    return found


def check_architecture(name: str, configuration: Mapping[str, bool | int]) -> Variant:
    """The variant of a request. Raises ArchitectureError, as `canonical` does."""
    entry, chosen = find_known(name), canonical(name, configuration)
    return Variant(name, entry.title, entry.source, entry.family, chosen, _sizes(name, key_of(chosen)))


def check_pairing(variant: Variant, task: str, context_length: int) -> None:
    """Whether an architecture may be trained on a task of lra@1, under its budget. Raises ArchitectureError."""
    if task == SPEED:
        return
    tokens = find_task(RECIPES[task].task).length
    if context_length > tokens:
        raise ArchitectureError(
            f"lra/{task} has {tokens} tokens, and {variant.title} gets places for no more: context length "
            f"{context_length} is beyond them.",
            "context_lengths",
        )
    size = variant.size(task, tokens)
    if abs(size.off) > SLACK:
        raise ArchitectureError(
            f"{variant.label} has {size.parameters:,} parameters on lra/{task}, {size.off:+.0%} of those with softmax "
            f"attention. The rule is within {SLACK:.0%}: choose other tasks, or a smaller option.",
            "configuration",
        )


def key_of(configuration: Mapping[str, bool | int]) -> str:
    return ",".join(f"{name}={int(value)}" for name, value in sorted(configuration.items()))


def shape_of(task: str) -> Shape:
    if task == SPEED:
        return SPEED_SHAPE
    recipe = RECIPES[task]
    return recipe.shape or find_task(recipe.task).shape


def place_of(task: str, context_length: int) -> str:
    """The key of `Variant.sizes`: recipes that train the same model share one."""
    if task == SPEED:
        return f"{SPEED}@{context_length}"
    return task if RECIPES[task].shape else RECIPES[task].task


def batch_of(task: str, context_length: int) -> int:
    """Examples of one step or, of the clock, of one pass."""
    return min(32, SPEED_BATCH_TOKENS // context_length) if task == SPEED else RECIPES[task].budget.batch


@cache
def _sizes(name: str, key: str) -> dict[str, Size]:
    return {place: Size(*numbers) for place, numbers in _table()[name]["variants"][key].items()}
