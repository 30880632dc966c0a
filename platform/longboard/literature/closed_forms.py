"""Our figure for each claim that follows from a formula or a shape alone: one function a claim, in the claim's own unit."""

from __future__ import annotations

from collections.abc import Callable

from longboard.literature.catalogue import Claim
from longboard.literature.verdicts import Evidence
from longboard_tasks.architectures import Architecture, Layer
from longboard_tasks.families import architecture_of
from longboard_tasks.shapes import load_shapes

Compute = Callable[[Claim], Evidence | None]


def _closed(value: float, basis: str, *, scaled: bool = False) -> Evidence:
    return Evidence(value, value, value, basis, hardware="", same_class=True, scaled=scaled)


def _shape(shape_id: str) -> Architecture:
    return architecture_of(load_shapes()[shape_id])


def kv_of_a_34b(claim: Claim) -> Evidence:
    return _closed(_shape("yi-34b").kv_bytes_per_token(), "cost model, Yi 34B shape in bf16")


def multi_query_capacity(claim: Claim) -> Evidence:
    """Pope et al.: 64 chips. Heads shared out: one key head of size 128 a chip and every row; rows shared out: one key head of
    size 256 and a 64th of the rows."""
    chips, head, shared_head = 64, 128, 256
    return _closed(head * chips / shared_head, "bytes of keys a chip holds, 64 chips: 128 B against 256 B / 64")


def jamba_cache(claim: Claim) -> Evidence:
    shape = _shape("jamba-52b")
    attention = [layer for layer in shape.layers if layer.kv_width]
    ratio = len(shape.layers) * attention[0].kv_width / sum(layer.kv_width for layer in attention)
    return _closed(ratio, "cost model, keys and values alone; the states add 16 MiB whatever the length")


def jamba_fits(claim: Claim) -> Evidence:
    """int8 weights, bf16 keys; passes of 4,096 tokens."""
    shape = _shape("jamba-52b")
    spare = 80e9 - shape.stored - shape.state_bytes() - 4_096 * 2 * 3 * (shape.hidden + shape.inner)
    tokens = spare / shape.kv_bytes_per_token()
    return _closed(tokens, "cost model: int8 weights of 51.6 GB, bf16 keys and values, in 80 GB")


def masformer_compute(claim: Claim) -> Evidence:
    """1.3B dense: 24 layers of width 2,048; four of them full, the others a window of 1,024, at 16,384 tokens."""
    layers, width, length, window, full = 24, 2_048, 16_384, 1_024, 4
    rest = 2 * 12 * width**2  # projections and MLP of a token and layer
    whole = 4 * width * length / 2
    local = 4 * width * (window * (window + 1) / 2 + (length - window) * window) / length
    before = layers * (rest + whole)
    after = layers * rest + full * whole + (layers - full) * local
    alone = 100 * (1 - (full * whole + (layers - full) * local) / (layers * whole))
    return _closed(
        100 * (1 - after / before),
        f"FLOPs of attention, projections and MLP at 16K; of attention alone the saving is {alone:.0f} %",
        scaled=True,
    )


def zebra_cache(claim: Claim) -> Evidence:
    """Group of four layers, one of them full, the others with a window of 1,024."""
    group, window, length = 4, 1_024, 131_072
    full = Layer("attention", 0, 0, kv_width=1)
    local = Layer("window", 0, 0, kv_width=1, window=window)
    held = full.keys(length) + (group - 1) * local.keys(length)
    formula = 1 / group + (1 - 1 / group) * window / length
    return _closed(
        held / (group * length) / formula, "keys that transformers' windowed cache holds at 128K: window - 1"
    )


COMPUTED: dict[str, Compute] = {
    "challenges-deploying-01": kv_of_a_34b,
    "efficiently-scaling-inference-01": multi_query_capacity,
    "jamba-01": jamba_cache,
    "jamba-02": jamba_fits,
    "masformer-01": masformer_compute,
    "zebra-02": zebra_cache,
}
