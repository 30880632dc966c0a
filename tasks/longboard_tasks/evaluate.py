"""The entry point: a RunSpec in, a ResultBundle out. No platform, no queue, no network needed.

    system = open_system(spec.system)             # once
    bundle = evaluate(spec, work_dir=..., system=system)

Kill it at any time and call it again with the same `work_dir`: finished blocks are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType

from longboard_tasks.catalogue.names import UnknownName
from longboard_tasks.catalogue.suites import SuiteInfo, find_suite
from longboard_tasks.contract import (
    Manifest,
    Measurement,
    Progress,
    ResultBundle,
    RunSpec,
    SampleRecord,
    SystemSpec,
    canonical_json,
    sha256,
)
from longboard_tasks.engine.engine import Engine, is_out_of_memory, open_engine
from longboard_tasks.engine.errors import EvaluationError, ModelLoadError, OutOfMemory, SuiteError
from longboard_tasks.engine.journal import Block, Journal, open_journal
from longboard_tasks.engine.kernels import use_kernels
from longboard_tasks.engine.loading import LoadedModel, check_positions, load_system
from longboard_tasks.engine.machine import peak_bytes, report_hardware, report_software
from longboard_tasks.engine.methods import build_method
from longboard_tasks.intervals import wilson
from longboard_tasks.prose import load_prose

BLOCK = 20  # samples between two writes of the journal: what a kill can cost
# Accuracy suites: make_sample, score, new_tokens, and secondary where a suite has a second scorer.
SUITES = {name: f"longboard_tasks.suites.{name}.suite" for name in ("niah", "babilong", "recall", "kv")}

OnProgress = Callable[[Progress], None]
Secondary = Callable[[str, str, str], dict[str, float]]  # (task, answer, target) -> further scores


@dataclass(frozen=True, slots=True)
class OpenSystem:
    """A System in memory: loaded, self-tested, ready for any number of runs."""

    spec: SystemSpec
    loaded: LoadedModel
    engine: Engine
    kernels: dict[str, float | int | str | bool] = field(default_factory=dict)  # what the manifest says of ours


def open_system(spec: SystemSpec, *, models_dir: Path | None = None, share: bool = True) -> OpenSystem:
    """Load and self-test. Raises ModelLoadError, MethodError or OutOfMemory."""
    method = build_method(spec.method)
    try:
        loaded = load_system(spec, models_dir=models_dir)
        kernels = use_kernels(loaded) if spec.runtime.kernels == "longboard" else {}
        return OpenSystem(spec, loaded, open_engine(loaded, share=share, method=method), kernels)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            raise OutOfMemory(f"{spec.model.id} does not fit this machine: {str(error)[:200]}") from error
        raise ModelLoadError(
            f"{spec.model.id} was loaded but cannot run: {type(error).__name__}: {str(error)[:240]}"
        ) from error


def evaluate(
    spec: RunSpec,
    *,
    work_dir: Path,
    models_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    attempt_id: str = "",
    fence: int = 0,
    system: OpenSystem | None = None,
) -> ResultBundle:
    """Run `spec` and return its bundle. Samples are on disk in `work_dir` as they finish.

    `system` saves the loading when it was opened for the same SystemSpec. Raises EvaluationError's children only for what a
    person can act on; each has a `failure_class`.
    """
    clock, started_at = time.perf_counter(), datetime.now(UTC)
    suite = check_request(spec)
    report = on_progress or (lambda progress: None)
    if suite.trains:
        from longboard_tasks.suites.lra.runs import run

        return run(spec, work_dir=work_dir, models_dir=models_dir, report=report, attempt_id=attempt_id, fence=fence)
    if system is None or system.spec != spec.system:
        report(Progress(done=0, total=_total(spec), note="loading the model"))
        system = open_system(spec.system, models_dir=models_dir)
    engine = system.engine
    module = import_module(SUITES[suite.name]) if suite.kind == "accuracy" else None
    new_tokens = max(module.new_tokens(task) for task in spec.tasks) if module else 0
    check_positions(system.loaded, context_length=spec.context_length, new_tokens=new_tokens)
    engine.plan_for(spec.context_length + new_tokens, memory_limit=spec.limits.memory_bytes)
    engine.counters = type(engine.counters)()
    records: tuple[SampleRecord, ...] = ()
    if module is None:
        measurements = _measure_efficiency(spec, engine, report)
    else:
        records = _run_accuracy(spec, system, module, work_dir, report)
        measurements = summarise(records, spec.context_length, getattr(module, "secondary", None))
    return ResultBundle(
        run=spec,
        attempt_id=attempt_id,
        fence=fence,
        measurements=tuple(measurements),
        samples=records,
        manifest=make_manifest(system, started_at=started_at, wall_s=time.perf_counter() - clock),
    )


def evaluate_many(
    specs: Sequence[RunSpec],
    *,
    work_dir: Path,
    models_dir: Path | None = None,
    on_progress: Callable[[RunSpec, Progress], None] | None = None,
) -> Iterator[ResultBundle]:
    """Bundles in the order of `specs`, each run in its own folder of `work_dir`; neighbours with one System load it once."""
    system: OpenSystem | None = None
    for spec in specs:
        check_request(spec)
    for spec in specs:
        if system is None or system.spec != spec.system:
            system = None if find_suite(spec.suite).trains else open_system(spec.system, models_dir=models_dir)

        def report(progress: Progress, spec: RunSpec = spec) -> None:
            if on_progress:
                on_progress(spec, progress)

        folder = work_dir / sha256(canonical_json(spec))[:16]
        yield evaluate(spec, work_dir=folder, models_dir=models_dir, on_progress=report, system=system)


def check_request(spec: RunSpec) -> SuiteInfo:
    """What can be refused without a model. Raises SuiteError."""
    try:
        suite = find_suite(spec.suite)
        for task in spec.tasks:
            suite.task(task)
    except UnknownName as error:
        raise SuiteError(str(error)) from error
    if spec.suite_version != suite.version:
        raise SuiteError(
            f"{spec.suite}@{spec.suite_version} was asked for; this node has {suite.label}. Update the node."
        )
    if spec.context_length < suite.least_context_length:
        raise SuiteError(
            f"context_length={spec.context_length} is too short for {suite.label}: "
            f"it needs at least {suite.least_context_length}."
        )
    if suite.trains:
        from longboard_tasks.suites.lra.runs import check_run

        check_run(spec)
        return suite
    if spec.system.model.source == "architecture":
        raise SuiteError(f"{spec.system.model.id} is an architecture without weights: it runs lra, not {suite.label}.")
    if suite.kind == "accuracy" and spec.system.model.source == "config":
        raise SuiteError(
            f"{spec.system.model.id} has random weights: it can be measured for efficiency, not for accuracy."
        )
    if suite.kind == "accuracy" and suite.name not in SUITES:
        raise SuiteError(f"{suite.label} is known but cannot be run by this node. Update the node.")
    return suite


def summarise(
    records: Sequence[SampleRecord], context_length: int, secondary: Secondary | None = None
) -> list[Measurement]:
    """Accuracy for each task, for each depth of it, and by its second scorer, with Wilson intervals.

    Needs no model: stored samples suffice.
    """
    rows = []
    for task in dict.fromkeys(record.task for record in records):
        mine = [record for record in records if record.task == task]
        rows.append(_share(task, "accuracy", context_length, [r.score for r in mine], None))
        for depth in sorted({record.depth for record in mine if record.depth is not None}):
            at_depth = [record.score for record in mine if record.depth == depth]
            rows.append(_share(task, "accuracy_by_depth", context_length, at_depth, depth))
        if secondary is not None:
            columns = [secondary(task, record.answer, record.target) for record in mine]
            for metric in columns[0]:
                rows.append(_share(task, metric, context_length, [column[metric] for column in columns], None))
    return rows


def rescore(suite: str, records: Sequence[SampleRecord]) -> tuple[SampleRecord, ...]:
    """The records with their scores computed again from answer and target, no model loaded."""
    if suite not in SUITES:
        raise SuiteError(f'Suite "{suite}" has no answers to score. Accuracy suites: {", ".join(SUITES)}.')
    scorer = import_module(SUITES[suite]).score
    return tuple(r.model_copy(update={"score": scorer(r.task, r.answer, r.target)}) for r in records)


def make_manifest(system: OpenSystem, *, started_at: datetime, wall_s: float) -> Manifest:
    loaded, engine = system.loaded, system.engine
    counters = engine.counters
    settings: dict[str, float | int | str | bool] = {
        "rows": engine.schedule.rows,
        "grain": engine.schedule.grain,
        "prefixes_shared": engine.share,
        "batches_allowed": engine.self_test.batches,
        "packs": engine.schedule.pack_tail > 0,
        "bits_repeat": engine.self_test.repeats,
        "self_test_noise": engine.self_test.noise,
        "self_test_error": engine.self_test.error,
        "tokens": counters.tokens,
        "prompt_tokens_alone": counters.tokens_alone,
        "prompt_tokens_shared": counters.tokens_shared,
        "oom_backoffs": counters.oom_backoffs,
        "truncation": "refuse",
        "attention": str(getattr(loaded.model.config, "_attn_implementation", "none")),
        "random_weights": not loaded.weights_sha256,
        "chat_template": bool(getattr(loaded.tokenizer, "chat_template", None)),
    }
    settings |= system.kernels
    settings |= {f"held_bytes_{stage}": held for stage, held in counters.stages.items()}
    return Manifest(
        architecture=loaded.architecture,
        parameters=loaded.parameters,
        weights_sha256=loaded.weights_sha256,
        tokenizer_sha256=loaded.tokenizer_sha256,
        max_positions=loaded.max_positions,
        prose_sha256=load_prose().sha256,
        prefix_mode=engine.self_test.mode,
        prefix_reason=engine.self_test.reason,
        chunk_size=engine.schedule.chunk if engine.self_test.mode == "shared" else None,
        settings=settings,
        hardware=report_hardware(loaded.device),
        software=report_software(),
        started_at=started_at,
        wall_s=wall_s,
        peak_memory_bytes=peak_bytes(loaded.device),
    )


def _run_accuracy(
    spec: RunSpec, system: OpenSystem, suite: ModuleType, work_dir: Path, report: OnProgress
) -> tuple[SampleRecord, ...]:
    from longboard_tasks.engine.harness import run_block
    from longboard_tasks.engine.lm import LongContextLM

    engine, loaded = system.engine, system.loaded
    journal = _open_journal(spec, system, work_dir)
    blocks = [(task, first) for task in spec.tasks for first in range(0, spec.samples, BLOCK)]
    resumed = sum(len(block.records) for block in journal.blocks.values())
    pace = _Pace(total=_total(spec), resumed=resumed, report=report)
    pace.tell(resumed, 0, "resumed" if resumed else "")
    done = resumed
    for task, first in blocks:
        if (task, first) in journal.blocks:
            continue
        samples = [
            suite.make_sample(
                task=task, context_length=spec.context_length, seed=spec.seed, index=index, tokenizer=loaded.tokenizer
            )
            for index in range(first, min(first + BLOCK, spec.samples))
        ]
        lm = LongContextLM(engine, on_answer=lambda n, _, tokens, done=done: pace.tell(done + n, tokens))  # type: ignore[misc]
        records = run_block(lm, task, samples, suite.score)
        schedule = {"chunk": engine.schedule.chunk, "rows": engine.schedule.rows}
        journal.append(Block(task, first, records, schedule), [sample.ids for sample in samples])
        done += len(records)
    return tuple(record for block in blocks for record in journal.blocks[block].records)


def _open_journal(spec: RunSpec, system: OpenSystem, work_dir: Path) -> Journal:
    """Opened with everything that decides the bits; a resumed run goes on with the schedule of its last block."""
    loaded, engine = system.loaded, system.engine
    facts = {
        "weights": loaded.weights_sha256,
        "tokenizer": loaded.tokenizer_sha256,
        "software": report_software(),
        "device": report_hardware(loaded.device).device,
        "mode": engine.self_test.mode,
        "share_same_bits": True,
    }
    journal = open_journal(work_dir, run=spec.model_dump(mode="json"), engine=facts)
    if journal.blocks:
        last = list(journal.blocks.values())[-1].schedule
        engine.schedule = replace(engine.schedule, chunk=last["chunk"], rows=last["rows"])
    return journal


def _measure_efficiency(spec: RunSpec, engine: Engine, report: OnProgress) -> list[Measurement]:
    from longboard_tasks.suites.efficiency.generate import measure

    pace = _Pace(total=_total(spec), resumed=0, report=report)
    pace.tell(0, 0)
    return measure(
        engine,
        context_length=spec.context_length,
        repeats=spec.samples,
        seed=spec.seed,
        on_repeat=lambda done: pace.tell(done, done * spec.context_length),
    )


def _share(task: str, metric: str, context_length: int, scores: Sequence[float], depth: float | None) -> Measurement:
    value = sum(scores) / len(scores)
    low, high = wilson(value, len(scores))
    return Measurement(
        task=task, metric=metric, context_length=context_length, value=value, ci_low=low, ci_high=high,
        n=len(scores), unit="share", depth=depth,
    )  # fmt: skip


def _total(spec: RunSpec) -> int:
    return spec.samples * len(spec.tasks)


@dataclass(slots=True)
class _Pace:
    """Turns finished samples into Progress with an estimate of the time left."""

    total: int
    resumed: int
    report: OnProgress
    started: float = 0.0

    def tell(self, done: int, tokens: int, note: str = "") -> None:
        now = time.perf_counter()
        self.started = self.started or now
        fresh = done - self.resumed
        eta: float | None = (now - self.started) / fresh * (self.total - done) if fresh > 0 else None
        self.report(Progress(done=done, total=self.total, tokens=tokens, eta_s=eta, note=note))


__all__ = [
    "EvaluationError", "OpenSystem", "evaluate", "evaluate_many", "open_system", "rescore", "summarise",
]  # fmt: skip
