"""What can be checked of a bundle of lra@1 without its data: its samples, and their targets where we make them. No torch."""

from __future__ import annotations

from functools import lru_cache

from longboard_tasks.suites.lra.listops import make_expression
from longboard_tasks.suites.lra.tasks import RECIPES, find_task

KEPT = 2_000  # test examples of each training that a bundle carries; its accuracy is of the whole split


def classes(task: str) -> tuple[str, ...]:
    """The answers that there are."""
    return tuple(str(number) for number in range(find_task(RECIPES[task].task).classes))


def size_of_test(task: str) -> int | None:
    """Examples of the test split; None of a task whose stand-in or files decide it."""
    recipe = RECIPES[task]
    return None if recipe.stand_in else recipe.examples[2]


def target(task: str, index: int) -> str | None:
    """The label of a test example. None where it takes files, or an image's worth of work, to know."""
    if RECIPES[task].task != "listops":
        return None
    return _listops(index)


@lru_cache(maxsize=4_096)
def _listops(index: int) -> str:
    return str(make_expression(split="test", seed=0, index=index).value)
