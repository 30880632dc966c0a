"""The six tasks of Long Range Arena: lengths, classes, chance, and the published budget of each. No torch, no numpy.

Source: Tay et al. 2021 (arXiv:2011.04006) and the configurations of its repository. docs/lra.md has every deviation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from longboard_tasks.suites.lra.listops import CHANCE as LISTOPS_CHANCE

BYTES = 257  # values 0 to 255 one up; 0 is left for padding


@dataclass(frozen=True, slots=True)
class Shape:
    """The encoder of the published base Transformer: what decides the parameters that a mixer may spend."""

    width: int
    heads: int
    layers: int
    inner: int  # width of queries, keys and values together
    mlp: int
    pool: Literal["class", "mean"]  # a class token in front, or the mean over tokens
    dropout: float


@dataclass(frozen=True, slots=True)
class Budget:
    """One rule for all mixers of a task."""

    steps: int
    batch: int
    warm_up: int  # steps
    learning_rate: (
        float  # at its peak; AdamW, cosine to a tenth. Ours: the published rates are for Adam with 1/sqrt decay
    )
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Task:
    """`length` in tokens of one sequence, class token not counted; `pair` when one example is two sequences."""

    name: str
    title: str
    length: int
    vocabulary: int
    classes: int
    chance: float  # accuracy of one who never reads the sequence
    pair: bool
    sizes: tuple[int, int, int]  # train, validation, test, as published
    licence: str
    shape: Shape
    budget: Budget


_OWN = "made here, no licence of others"
TASKS = {
    task.name: task
    for task in (
        Task(
            "listops", "ListOps", 2_000, 16, 10, LISTOPS_CHANCE, False, (96_000, 2_000, 2_000), _OWN,
            Shape(512, 8, 4, 512, 1_024, "class", 0.1), Budget(5_000, 32, 1_000, 3e-4, 0.1),
        ),
        Task(
            "text", "Byte-level text", 4_000, BYTES, 2, 0.5, False, (25_000, 25_000, 25_000),
            "IMDb reviews (Maas et al. 2011): no licence stated; for research, not redistributed here",
            Shape(256, 4, 4, 256, 1_024, "class", 0.1), Budget(20_000, 32, 2_000, 3e-4, 0.1),
        ),
        Task(
            "retrieval", "Document retrieval", 4_000, BYTES, 2, 0.5, True, (147_086, 18_090, 17_437),
            "ACL Anthology Network papers: not redistributable",
            Shape(128, 4, 4, 128, 512, "class", 0.1), Budget(5_000, 32, 1_000, 5e-4, 0.1),
        ),
        Task(
            "image", "Pixel-sequence images", 1_024, BYTES, 10, 0.1, False, (45_000, 5_000, 10_000),
            "CIFAR-10 (Krizhevsky 2009): no licence stated; not redistributed here",
            Shape(128, 8, 1, 64, 128, "class", 0.3), Budget(35_000, 256, 175, 5e-4, 0.0),
        ),
        Task(
            "pathfinder32", "Pathfinder", 1_024, BYTES, 2, 0.5, False, (160_000, 20_000, 20_000), _OWN,
            Shape(32, 4, 4, 16, 32, "mean", 0.2), Budget(62_400, 512, 312, 1e-3, 0.0),
        ),
        Task(
            "pathx128", "Path-X", 16_384, BYTES, 2, 0.5, False, (160_000, 20_000, 20_000), _OWN,
            Shape(32, 2, 1, 16, 32, "mean", 0.2), Budget(500_000, 64, 2_500, 1e-3, 0.0),
        ),
    )
}  # fmt: skip


def find_task(name: str) -> Task:
    """Raises KeyError, with the names that there are."""
    if name not in TASKS:
        raise KeyError(f'Long Range Arena has no task "{name}". It has: {", ".join(TASKS)}.')
    return TASKS[name]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A task of the catalogue's suite lra@1: which of TASKS is trained, on how much, and for how long. The same for all mixers.

    `examples`: training, validation, test. Of a stand-in they are what its maker gets: another task in the same format.
    """

    task: str
    examples: tuple[int, int, int]
    budget: Budget
    evaluate_every: int  # steps
    shape: Shape | None = None  # None: the task's own
    stand_in: bool = False


def _published(name: str) -> Recipe:
    return Recipe(name, TASKS[name].sizes, TASKS[name].budget, TASKS[name].budget.steps // 20)


def _short(name: str, steps: int, batch: int) -> Budget:
    return replace(TASKS[name].budget, steps=steps, warm_up=steps // 10, batch=batch)


def _stand_in(name: str) -> Recipe:
    return Recipe(name, (400, 400, 400), _short(name, 200, 16), 50, stand_in=True)


RECIPES = {
    "listops": _published("listops"),
    "text": _published("text"),
    "retrieval": _published("retrieval"),
    "image": _published("image"),
    "pathfinder": _published("pathfinder32"),
    "pathx": _published("pathx128"),
    "listops_short": Recipe("listops", (20_000, 1_000, 2_000), _short("listops", 1_500, 32), 250),
    "text_stand_in": _stand_in("text"),
    "retrieval_stand_in": _stand_in("retrieval"),
    "image_stand_in": _stand_in("image"),
    "listops_smoke": Recipe("listops", (64, 16, 16), _short("listops", 4, 2), 2, Shape(32, 2, 2, 32, 64, "class", 0.1)),
}
SPEED = "speed"  # the catalogue's task that trains nothing: the text classifier with random weights, timed
SPEED_SHAPE = TASKS["text"].shape
SPEED_BATCH_TOKENS = 4_096 * 32  # the paper's batch of 32 up to 4K; a smaller one beyond, of as many tokens


def find_recipe(name: str) -> Recipe:
    """Raises KeyError, with the names that there are."""
    if name not in RECIPES:
        raise KeyError(f'lra has no task "{name}" that trains. It has: {", ".join(RECIPES)}.')
    return RECIPES[name]
