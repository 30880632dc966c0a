"""What a Run of lra@1 will take, before it runs: time and memory of its trainings from FLOPs and parameters. No torch.

    price_training(variant, "listops", SHEETS["h100-80gb"], context_length=2_000, trainings=3)

Counted: three forward passes a training step, one for each example that is evaluated, all at full length. What part of a
device's rate small models reach is wide, and differs by mixer: scans launch many small kernels.
"""

from __future__ import annotations

from longboard_tasks.costmodel import GIB, HardwareSheet, Price
from longboard_tasks.suites.lra.architectures import Variant, batch_of, shape_of
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, find_task

# Part of the sheet's rate, from the fastest mixer to the slowest. CPU: 5.6 (mamba) to 131 GFLOP/s (fastformer) of 160, one step
# of ListOps on two busy cores. CUDA: assumed, until the efficiency table of a GPU is in.
REACHED = {"cuda": (0.3, 0.03, 0.003), "cpu": (0.8, 0.3, 0.03)}
CLOCK_PASSES = 9  # of each kind that the clock takes, warm-up among them
# Memory that a training step was seen to take over what `memory_bytes` counts: two rows of ListOps in fp32 on a CPU. Scans keep
# their states for the way back; a GPU's kernel for mamba does not.
HELD = {
    "softmax": 0.8, "local": 1.0, "longformer": 1.2, "linear": 1.0, "performer": 2.1, "linformer": 0.8, "fastformer": 1.0,
    "aft": 0.9, "aaren": 2.2, "s4d": 3.9, "mamba": 6.6, "mamba2": 2.7, "retention": 2.0, "gla": 2.6, "deltanet": 3.6,
    "gated_deltanet": 3.7, "rwkv": 6.0, "block_state": 3.0, "hybrid_gated_deltanet": 3.7, "hybrid_mamba2": 2.7,
    "hybrid_mamba2_local": 2.7,
}  # fmt: skip
STATES = 16  # bytes of a parameter in training: fp32 weight, gradient and two moments


def training_flops(variant: Variant, task: str, context_length: int, trainings: int) -> float:
    """Of the whole Run."""
    size = variant.size(task, context_length)
    if task == SPEED:
        return 4.0 * CLOCK_PASSES * batch_of(task, context_length) * size.flops
    recipe = RECIPES[task]
    _, validation, test = recipe.examples
    evaluated = recipe.budget.steps // recipe.evaluate_every * validation + validation + test
    return float(trainings) * size.flops * (3 * recipe.budget.steps * recipe.budget.batch + evaluated)


def least_memory_bytes(variant: Variant, task: str, context_length: int) -> int:
    """Weights, gradients and moments alone: what no machine can do without."""
    return STATES * variant.size(task, context_length).parameters


def memory_bytes(variant: Variant, task: str, context_length: int, dtype: str) -> int:
    """With what a training step keeps of each token for its way back."""
    shape, size = shape_of(task), variant.size(task, context_length)
    rows = batch_of(task, context_length) * (2 if task != SPEED and find_task(RECIPES[task].task).pair else 1)
    numbers = 10 * shape.width + 6 * size.inner + 3 * shape.mlp
    kept = rows * context_length * shape.layers * numbers * (2 if dtype == "bfloat16" else 4)
    return least_memory_bytes(variant, task, context_length) + round(HELD[variant.name] * kept)


def price_training(
    variant: Variant, task: str, sheet: HardwareSheet, *, context_length: int, trainings: int, dtype: str = "bfloat16"
) -> Price:
    flops = training_flops(variant, task, context_length, trainings)
    low, middle, high = (flops / sheet.flops / part for part in REACHED[sheet.kind])
    memory = memory_bytes(variant, task, context_length, dtype)
    fits = memory <= sheet.memory_bytes
    what = "the clock" if task == SPEED else f"{trainings} x {RECIPES[task].budget.steps:,} steps"
    says = f"{what}, {flops:.1e} FLOP; about {memory / GIB:.1f} GiB of {sheet.memory_bytes / GIB:.0f}"
    if not fits:
        says = f"{task}: a step needs about {memory / GIB:.1f} GiB; {sheet.name} has {sheet.memory_bytes / GIB:.0f}."
    return Price(low, middle, high, memory, fits, says)
