"""From a measurement report to result bundles: one a System and context length, with the metrics of `efficiency@1/generate`.

Only lengths whose prompt was read (no filled cache), batch 1, last-token logits, and the reading that scoring uses: in chunks
where the cache can be continued, in one pass where it cannot. Energy where a window of it is valid. What the bundle cannot hold
(limits, breakdowns) stays in the report.
"""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from longboard_tasks.contract import Manifest, Measurement, ResultBundle, RunSpec
from longboard_tasks.suites.efficiency.report import Cell, Reading, Report, Stat
from longboard_tasks.suites.efficiency.spread import pool_cells


def bundles_of(report: Report) -> list[ResultBundle]:
    """In the order of the report's Systems, lengths rising. A length without both phases gives none."""
    found = []
    for name, facts in report.systems.items():
        reading: Reading = "one_shot" if facts.prefix_mode == "step" else "chunked"
        mine = [
            c
            for c in report.cells
            if (c.system, c.batch, c.logits, c.filled, c.failure, c.cap_bytes) == (name, 1, "last", False, None, None)
        ]
        for length in sorted({c.context_length for c in mine}):
            here = [c for c in mine if c.context_length == length]
            prefill = [c for c in here if c.phase == "prefill" and c.reading == reading]
            decode = [c for c in here if c.phase == "decode"]
            if prefill and decode:
                energies = _energy_rows(
                    [c for c in report.cells if (c.system, c.context_length) == (name, length)], reading
                )
                found.append(_bundle(report, name, pool_cells(prefill), pool_cells(decode), energies))
    return found


Row = tuple[str, str, Stat]  # metric, unit, number


def _energy_rows(cells: list[Cell], reading: Reading) -> list[Row]:
    """Joules a token by the GPU's counter; the ends are the least and the most that counter or sampled power say."""
    rows = []
    for phase in ("decode", "prefill"):
        windows = [
            c.energy
            for c in cells
            if (c.phase, c.batch, c.logits, c.reading) == (phase, 1, "last", reading)
            and c.energy
            and c.energy.per_token
        ]
        if windows:
            tokens = sum(w.tokens for w in windows)
            ends = [j / w.tokens for w in windows for j in (w.joules, w.integrated) if j]
            value = sum(w.joules or 0.0 for w in windows) / tokens
            rows.append((f"{phase}_j_per_token", "J", Stat(value=value, low=min(ends), high=max(ends), n=len(windows))))
    return rows


def _bundle(report: Report, name: str, prefill: Cell, decode: Cell, energies: list[Row]) -> ResultBundle:
    facts, length = report.systems[name], prefill.context_length
    ttft, tpot = prefill.times["ttft_ms"], decode.times["tpot_ms"]
    held, peak = (prefill.memory.cache, prefill.memory.peak) if prefill.memory else (0, 0)
    rows = [
        ("ttft_ms", "ms", ttft),
        ("tpot_ms", "ms", tpot),
        ("prefill_tokens_per_s", "tokens/s", _rate(ttft, 1_000 * length)),
        ("decode_tokens_per_s", "tokens/s", _rate(tpot, 1_000)),
        ("peak_memory_bytes", "bytes", Stat(value=peak, low=peak, high=peak, n=ttft.n)),
        ("cache_bytes", "bytes", Stat(value=held, low=held, high=held, n=ttft.n)),
        *energies,
    ]
    return ResultBundle(
        attempt_id=_id("attempt", report, facts.spec.digest, length),
        fence=1,
        run=RunSpec(
            run_id=_id("run", report, facts.spec.digest, length),
            system=facts.spec,
            suite="efficiency",
            suite_version=1,
            tasks=("generate",),
            context_length=length,
            samples=ttft.n,
            seed=0,
        ),
        measurements=tuple(
            Measurement.model_validate(
                {
                    "task": "generate", "metric": metric, "context_length": length, "unit": unit, "n": stat.n,
                    "value": stat.value, "ci_low": stat.low, "ci_high": stat.high,
                }
            )
            for metric, unit, stat in rows
        ),
        manifest=Manifest(
            architecture=facts.architecture,
            parameters=facts.parameters,
            max_positions=facts.published_positions,
            prefix_mode=facts.prefix_mode,
            prefix_reason=facts.prefix_reason,
            chunk_size=facts.chunk if facts.prefix_mode == "shared" else None,
            settings={
                "random_weights": facts.spec.model.source == "config",
                "attention": facts.attention,
                "launches": max(prefill.launch, decode.launch),
                "noisy": bool(prefill.noise or decode.noise),
                **facts.kernels,
            },
            hardware=report.hardware,
            software=report.software,
            started_at=report.measured_at,
            wall_s=report.elapsed_s,
            peak_memory_bytes=peak or None,
        ),
    )  # fmt: skip


def _id(what: str, report: Report, system: str, length: int) -> str:
    """The same report gives the same ids, so that a second load of its bundles finds the first."""
    return str(uuid5(NAMESPACE_URL, f"longboard:measure:{what}:{report.measured_at.isoformat()}:{system}:{length}"))


def _rate(stat: Stat, per: float) -> Stat:
    return Stat(value=per / stat.value, low=per / stat.high, high=per / stat.low, n=stat.n)
