"""What a Run of lra@1 will take, before it runs: time and memory of its trainings from FLOPs and parameters. No torch.

    price_training(variant, "listops", SHEETS["h100-80gb"], context_length=2_000, trainings=3)

Counted: three forward passes a training step, one for each example that is evaluated, all at full length. What part of a
device's rate small models reach is wide, and differs by mixer: scans launch many small kernels.
"""

from __future__ import annotations

from longboard_tasks.costmodel import HardwareSheet, Price
from longboard_tasks.sizes import bytes_text
from longboard_tasks.suites.lra.architectures import Variant, batch_of, shape_of
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, find_task

# Part of the sheet's rate. CPU, fastest mixer to slowest: 5.6 (mamba) to 131 GFLOP/s (fastformer) of 160, one step of ListOps on
# two busy cores. CUDA, mixer by mixer: median over 1K to 8K of the text classifier's training step, H100, bf16. The wider model
# of ListOps took up to 4 times less (aft); the narrow ones of the images were not measured and reach less: hence REACH.
CPU_PACE = (0.8, 0.3, 0.03)
PACE = {
    "softmax": 0.096, "local": 0.030, "longformer": 0.025, "linear": 0.029, "performer": 0.016, "linformer": 0.038,
    "fastformer": 0.036, "aft": 0.021, "aaren": 0.0051, "s4d": 0.0088, "mamba": 0.011, "mamba2": 0.010, "retention": 0.018,
    "gla": 0.0025, "deltanet": 0.0033, "gated_deltanet": 0.0030, "rwkv": 0.0023, "block_state": 0.012,
    "hybrid_gated_deltanet": 0.0049, "hybrid_mamba2": 0.015, "hybrid_mamba2_local": 0.011,
}  # fmt: skip
REACH = (5.0, 1.0, 0.1)
CLOCK_PASSES = 9  # of each kind that the clock takes, warm-up among them
# Memory that a training step was seen to take over what `memory_bytes` counts: the most of 1K to 8K there. Scans keep their
# states for the way back. On a CPU s4d takes twice and mamba three times as much, the others about the same.
HELD = {
    "softmax": 0.8, "local": 1.0, "longformer": 1.2, "linear": 1.2, "performer": 2.7, "linformer": 0.9, "fastformer": 1.0,
    "aft": 0.9, "aaren": 3.7, "s4d": 2.1, "mamba": 2.2, "mamba2": 3.6, "retention": 2.4, "gla": 3.6, "deltanet": 4.3,
    "gated_deltanet": 4.8, "rwkv": 8.9, "block_state": 1.7, "hybrid_gated_deltanet": 3.6, "hybrid_mamba2": 2.9,
    "hybrid_mamba2_local": 3.0,
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
    parts = CPU_PACE if sheet.kind == "cpu" else tuple(reach * PACE[variant.name] for reach in REACH)
    low, middle, high = (flops / sheet.flops / part for part in parts)
    memory = memory_bytes(variant, task, context_length, dtype)
    fits = memory <= sheet.memory_bytes
    what = "the clock" if task == SPEED else f"{trainings} x {RECIPES[task].budget.steps:,} steps"
    needs, has = bytes_text(memory), bytes_text(sheet.memory_bytes)
    says = f"{what}, {flops:.1e} FLOP; about {needs} of {has}"
    if not fits:
        says = f"{task}: a step needs about {needs}; {sheet.name} has {has}."
    return Price(low, middle, high, memory, fits, says)
