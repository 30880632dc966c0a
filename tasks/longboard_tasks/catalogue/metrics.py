"""What can be measured, and which of it can be the other axis of a board."""

from __future__ import annotations

from dataclasses import dataclass

from longboard_tasks.catalogue.names import UnknownName
from longboard_tasks.contract import Unit


@dataclass(frozen=True, slots=True)
class MetricInfo:
    name: str
    title: str
    unit: Unit
    higher_is_better: bool


METRICS = {
    metric.name: metric
    for metric in (
        MetricInfo("accuracy", "Accuracy", "share", True),
        MetricInfo("accuracy_by_depth", "Accuracy by depth", "share", True),
        MetricInfo("accuracy_official", "Accuracy, official scorer", "share", True),
        MetricInfo("accuracy_characters", "Accuracy by character", "share", True),
        MetricInfo("ttft_ms", "Time to first token (TTFT)", "ms", False),
        MetricInfo("tpot_ms", "Time per output token (TPOT)", "ms", False),
        MetricInfo("prefill_tokens_per_s", "Prefill rate", "tokens/s", True),
        MetricInfo("decode_tokens_per_s", "Decode rate", "tokens/s", True),
        MetricInfo("peak_memory_bytes", "Peak memory", "bytes", False),
        MetricInfo("cache_bytes", "Cache and state", "bytes", False),
        MetricInfo("decode_j_per_token", "Energy per output token", "J", False),
        MetricInfo("prefill_j_per_token", "Energy per prompt token", "J", False),
        MetricInfo("train_tokens_per_s", "Training rate", "tokens/s", True),
        MetricInfo("train_peak_memory_bytes", "Peak memory of training", "bytes", False),
        MetricInfo("forward_tokens_per_s", "Inference rate", "tokens/s", True),
        MetricInfo("forward_peak_memory_bytes", "Peak memory of inference", "bytes", False),
    )
}

# What the other axis of a front can be, in the order that pages offer it; all from efficiency/generate.
COST_METRICS = (
    "ttft_ms",
    "tpot_ms",
    "peak_memory_bytes",
    "cache_bytes",
    "decode_tokens_per_s",
    "prefill_tokens_per_s",
    "decode_j_per_token",
    "prefill_j_per_token",
)
COST_TASK = "generate"
# The other axis for suites that train: of the accuracy's own task, at its own length.
TRAINING_COSTS = ("train_tokens_per_s", "train_peak_memory_bytes", "forward_tokens_per_s")
# A whole bundle may lack these: energy without a valid window of a counter; depths are those that the samples have.
# A CPU has no counter for the memory of one pass.
SOMETIMES_ABSENT = frozenset(
    {
        "accuracy_by_depth", "decode_j_per_token", "prefill_j_per_token", "forward_peak_memory_bytes",
        "train_peak_memory_bytes",
    }
)  # fmt: skip


def find_metric(name: str) -> MetricInfo:
    if name not in METRICS:
        raise UnknownName(f'Metric "{name}" is not known. There are: {", ".join(METRICS)}.')
    return METRICS[name]
