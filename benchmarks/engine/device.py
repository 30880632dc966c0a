"""One GPU: shared, unshared and stock reading of long prompts by 1B-shape models with random weights.

    python benchmarks/engine/device.py --out OUT [--shapes llama-1b mamba2-1b] [--lengths 16384 65536] [--budget-s 300]

First correctness at a short length (shared and unshared must agree within rounding, or nothing is timed; whether to the bit
is stated), then speed. Three sides:

    shared     our engine, prefixes shared
    unshared   our engine, every prompt from its beginning: same calls, same bits
    stock      one prompt at a time as lm-eval's HFLM does: `model.generate`, or all logits and a log-softmax over them

Two workloads: one haystack with 20 questions (16 new tokens each), and 4 choices of 16 tokens. The unshared and the stock side
are timed on --prompts of the prompts and stated per prompt. Results are written after each case, so a run that is cut short
leaves what it had. Needs torch, transformers, pydantic and psutil; no lm-eval.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tasks"))

import torch
from torch import Tensor

from longboard_tasks.contract import ModelRef, Runtime, SystemSpec
from longboard_tasks.engine.engine import Engine, is_out_of_memory, open_engine
from longboard_tasks.engine.loading import load_system
from longboard_tasks.engine.machine import report_hardware, report_software, synchronize
from longboard_tasks.engine.trie import Ask
from longboard_tasks.intervals import median_interval

QUESTIONS, NEW_TOKENS, CHOICES, CHOICE_TOKENS = 20, 16, 4, 16
QUESTION_TOKENS = 32


class Report:
    """The JSON file, rewritten after each case."""

    def __init__(self, out: Path, device: torch.device, budget_s: float) -> None:
        self.path, self.started, self.budget_s = out / "engine_device.json", time.perf_counter(), budget_s
        out.mkdir(parents=True, exist_ok=True)
        self.body: dict[str, Any] = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {"hardware": report_hardware(device).model_dump(), "software": report_software()},
            "correctness": [],
            "rows": [],
        }

    @property
    def is_over(self) -> bool:
        return time.perf_counter() - self.started > self.budget_s

    def add(self, kind: str, row: dict[str, Any]) -> None:
        self.body[kind].append(row)
        self.body["elapsed_s"] = time.perf_counter() - self.started
        self.path.write_text(json.dumps(self.body, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def draw(count: int, vocabulary: int, seed: int) -> list[int]:
    return torch.randint(0, vocabulary, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def make_questions(length: int, vocabulary: int) -> list[Ask]:
    haystack = draw(length - QUESTION_TOKENS, vocabulary, 0)
    tails = [draw(QUESTION_TOKENS, vocabulary, 1 + i) for i in range(QUESTIONS)]
    return [Ask(ids=haystack + tail, new_tokens=NEW_TOKENS) for tail in tails]


def make_choices(length: int, vocabulary: int) -> list[Ask]:
    context = draw(length - CHOICE_TOKENS, vocabulary, 0)
    targets = [draw(CHOICE_TOKENS, vocabulary, 1 + i) for i in range(CHOICES)]
    return [Ask(ids=(context + choice)[:-1], targets=choice) for choice in targets]


@torch.no_grad()
def answer_stock(model: Any, ask: Ask) -> list[int] | float:
    """As HFLM: generate, or logits of every position, log-softmax in the model's dtype, the continuation's slice."""
    ids = torch.tensor([list(ask.ids)], device=model.device)
    if ask.new_tokens:
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=ask.new_tokens,
            min_new_tokens=ask.new_tokens, do_sample=False, use_cache=True, pad_token_id=0,
        )  # fmt: skip
        return made[0, ids.shape[1] :].tolist()
    logprobs = torch.log_softmax(model(input_ids=ids).logits, dim=-1)[0, -len(ask.targets) :]
    wanted = torch.tensor(list(ask.targets), device=model.device)
    return float(logprobs.gather(-1, wanted[:, None]).sum())


def check(engine: Engine, shape: str, length: int) -> dict[str, Any]:
    """Shared against unshared, bit by bit, and against the stock way, on a short haystack."""
    vocabulary = engine.loaded.model.config.vocab_size
    asks = [*make_questions(length, vocabulary)[:6], *make_choices(length, vocabulary)]
    seen: dict[bool, dict[int, list[Tensor]]] = {}
    answers = {}
    for share in (True, False):
        logits: dict[int, list[Tensor]] = {}

        def keep(index: int, row: Tensor, into: dict[int, list[Tensor]] = logits) -> None:
            into.setdefault(index, []).append(row.clone())

        one = replace(engine, share=share and engine.share, on_logits=keep)
        answers[share] = dict(one.answer(asks))
        seen[share] = logits
    pairs = [(a, b) for index in seen[True] for a, b in zip(seen[True][index], seen[False][index], strict=True)]
    same_bits = all(torch.equal(a, b) for a, b in pairs)
    apart = max(float((a.float() - b.float()).pow(2).mean().sqrt() / b.float().std()) for a, b in pairs)
    stock = [answer_stock(engine.loaded.model, ask) for ask in asks]
    sums = [(answers[True][i].logprob, s) for i, s in enumerate(stock) if isinstance(s, float)]
    first = [answers[True][i].tokens[0] == s[0] for i, s in enumerate(stock) if isinstance(s, list)]
    return {
        "shape": shape,
        "length": length,
        "prefix_mode": engine.self_test.mode,
        "reason": engine.self_test.reason,
        "same_bits_shared_and_unshared": same_bits and answers[True] == answers[False],
        "bits_repeat": engine.self_test.repeats,
        "shared_from_unshared": apart,  # root mean square of the worst position, as a share of the logits' spread
        "noise": engine.self_test.noise,
        "largest_relative_logprob_difference_to_stock": max(abs(a - b) / abs(b) for a, b in sums),
        "share_of_first_tokens_equal_to_stock": sum(first) / len(first),
        "dtype": str(engine.loaded.model.dtype).removeprefix("torch."),
    }


def time_case(device: torch.device, work: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Seconds of each repeat after one warm-up, and the peak of the allocator; or what stopped it."""
    on_cuda = device.type == "cuda"
    seconds: list[float] = []
    try:
        for number in range(repeats + 1):
            if on_cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            synchronize(device)
            started = time.perf_counter()
            work()
            synchronize(device)
            if number:
                seconds.append(time.perf_counter() - started)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return {"failed": "out of memory"}
    value, low, high = median_interval(seconds)
    peak = torch.cuda.max_memory_allocated(device) if on_cuda else None
    return {"median_s": value, "low_s": low, "high_s": high, "repeats": repeats, "peak_bytes": peak}


WORKLOADS = {"20 questions": make_questions, "4 choices": make_choices}


def time_shape(
    report: Report,
    engine: Engine,
    shape: str,
    *,
    lengths: list[int],
    workloads: list[str],
    repeats: int,
    prompts: int,
) -> None:
    model, device = engine.loaded.model, engine.loaded.device
    for length in lengths:
        engine.plan_for(length + NEW_TOKENS)
        for workload in workloads:
            asks = WORKLOADS[workload](length, model.config.vocab_size)
            part = asks[:prompts]
            alone = replace(engine, share=False)
            sides: dict[str, tuple[Callable[[], Any], int]] = {
                "shared": (lambda asks=asks: list(engine.answer(asks)), len(asks)),  # type: ignore[misc]
                "stock": (lambda part=part: [answer_stock(model, ask) for ask in part], len(part)),  # type: ignore[misc]
                "unshared": (lambda part=part, alone=alone: list(alone.answer(part)), len(part)),  # type: ignore[misc]
            }
            for side, (work, count) in sides.items():
                head = {"shape": shape, "length": length, "workload": workload, "side": side, "prompts": count}
                if report.is_over:
                    report.add("rows", {**head, "failed": "no time"})
                    continue
                found = time_case(device, work, repeats)
                if "median_s" in found:
                    found["s_per_prompt"] = found["median_s"] / count
                report.add("rows", {**head, "chunk": engine.schedule.chunk, "rows": engine.schedule.rows, **found})


def write_table(report: Report, out: Path) -> None:
    """Ratios of seconds per prompt, for people."""
    lines = [
        "| model | length | workload | stock s/prompt | unshared s/prompt | shared s/prompt | shared over stock | over unshared "
        "| peak stock | peak shared |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = {(r["shape"], r["length"], r["workload"], r["side"]): r for r in report.body["rows"]}
    for shape, length, workload in dict.fromkeys(key[:3] for key in rows):
        stock, alone, shared = (
            rows.get((shape, length, workload, side), {}) for side in ("stock", "unshared", "shared")
        )

        def seconds(row: dict[str, Any]) -> str:
            return f"{row['s_per_prompt']:.3f}" if "s_per_prompt" in row else row.get("failed", "-")

        def ratio(slow: dict[str, Any], fast: dict[str, Any] = shared) -> str:
            both = "s_per_prompt" in slow and "s_per_prompt" in fast
            return f"{slow['s_per_prompt'] / fast['s_per_prompt']:.1f}x" if both else "-"

        peaks = [f"{row['peak_bytes'] / 2**30:.1f} GiB" if row.get("peak_bytes") else "-" for row in (stock, shared)]
        cells = [
            shape,
            str(length),
            workload,
            seconds(stock),
            seconds(alone),
            seconds(shared),
            ratio(stock),
            ratio(alone),
            *peaks,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    hardware = report.body["machine"]["hardware"]
    lines += [
        "",
        f"Random weights, one {hardware['device']}, {report.body['measured_at'][:10]}; medians after a warm-up.",
    ]
    (out / "engine_device.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shapes", nargs="+", default=["llama-1b", "mamba2-1b"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16_384, 65_536])
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--check-length", type=int, default=2_048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--budget-s", type=float, default=300)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report = Report(args.out, device, args.budget_s)
    for shape in args.shapes:
        system = SystemSpec(model=ModelRef(source="config", id=shape), runtime=Runtime(dtype=args.dtype))
        engine = open_engine(load_system(system), chunk=args.chunk)
        row = check(engine, shape, args.check_length)
        report.add("correctness", row)
        # Speed is stated only for answers that are right; nothing is to be gained where nothing may be shared.
        if row["shared_from_unshared"] <= row["noise"] and row["prefix_mode"] != "off":
            what = {"lengths": args.lengths, "workloads": args.workloads}
            time_shape(report, engine, shape, **what, repeats=args.repeats, prompts=args.prompts)
        del engine
        if device.type == "cuda":
            torch.cuda.empty_cache()
    write_table(report, args.out)


if __name__ == "__main__":
    main()
