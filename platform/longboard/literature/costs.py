"""The cost model as a page: every shape on one hardware sheet at one context length. Bounds, not measurements."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import QueryDict

from longboard.quantities import count_text, duration_text, length_label
from longboard_tasks.costmodel import SHEETS, HardwareSheet, estimate, longest_context
from longboard_tasks.families import architecture_of
from longboard_tasks.shapes import load_shapes
from longboard_tasks.sizes import bytes_text

K = 1_024
LENGTHS = (4 * K, 16 * K, 64 * K, 128 * K, 256 * K, 1_024 * K)
BATCHES = (1, 8, 32)
CHUNK = 4 * K


@dataclass(frozen=True, slots=True)
class CostLine:
    shape_id: str
    title: str
    parameters: str
    weights: str
    per_token: str
    state: str
    prefill: str
    decode: str
    users: str
    swap: str
    longest: str
    fits: bool


@dataclass(frozen=True, slots=True)
class CostPage:
    sheet: HardwareSheet
    sheets: list[HardwareSheet]
    length: int
    lengths: list[tuple[int, str]]
    batch: int
    batches: tuple[int, ...]
    memory: str
    lines: list[CostLine]

    @property
    def length_text(self) -> str:
        return length_label(self.length)


def cost_page(query: QueryDict) -> CostPage:
    """Unknown values fall back: the H100, 64K, batch 1."""
    sheet = SHEETS.get(query.get("on", ""), SHEETS["h100-80gb"])
    length = _chosen(query.get("length", ""), LENGTHS, 64 * K)
    batch = _chosen(query.get("batch", ""), BATCHES, 1)
    return CostPage(
        sheet=sheet,
        sheets=list(SHEETS.values()),
        length=length,
        lengths=[(n, length_label(n)) for n in LENGTHS],
        batch=batch,
        batches=BATCHES,
        memory=bytes_text(sheet.memory_bytes),
        lines=[_line(shape_id, sheet, length, batch) for shape_id in load_shapes()],
    )


def _chosen(text: str, among: tuple[int, ...], otherwise: int) -> int:
    return next((n for n in among if str(n) == text), otherwise)


def _line(shape_id: str, sheet: HardwareSheet, length: int, batch: int) -> CostLine:
    shape = load_shapes()[shape_id]
    architecture = architecture_of(shape)
    dtype = "bfloat16" if sheet.kind == "cuda" else "float32"
    found = estimate(architecture, sheet, context_length=length, batch=batch, dtype=dtype, chunk=CHUNK)
    grows = architecture.kv_bytes_per_token(dtype)
    longest = longest_context(architecture, sheet.memory_bytes, dtype=dtype, chunk=CHUNK)
    return CostLine(
        shape_id=shape_id,
        title=shape.title,
        parameters=count_text(architecture.stored),
        weights=bytes_text(found.weight_bytes),
        per_token=bytes_text(grows) if grows else "none",
        state=bytes_text(architecture.state_bytes(dtype)) if architecture.state_bytes(dtype) else "none",
        prefill=duration_text(found.prefill_s) if found.prefill_s >= 1 else f"{found.prefill_s * 1_000:,.3g} ms",
        decode=f"{found.decode_s * 1_000:,.3g} ms",
        users=f"{found.concurrency:,}",
        swap=f"{found.swap_s * 1_000:,.3g} ms",
        longest="no limit" if not grows and longest else f"{longest:,}" if longest else "weights do not fit",
        fits=found.fits,
    )
