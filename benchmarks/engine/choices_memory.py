"""Peak memory of 4-way scoring at vocabulary 128,256 and length 8,192 on the CPU: ours and lm-eval's HFLM.

    python benchmarks/engine/choices_memory.py [--out benchmarks/engine/results]

Each side runs in a process of its own (peak of the resident set, reset before). --ours-only prints our JSON and ends: that is
how the other side is started, and how the test does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "tasks"), str(Path(__file__).parent)]

LENGTH, VOCABULARY, CHOICES = 8_192, 128_256, 4


def measure(side: str) -> dict[str, float | int | str]:
    import torch
    from lm_eval.api.instance import Instance
    from setup import build_random, choices

    from longboard_tasks.engine.engine import open_engine
    from longboard_tasks.engine.lm import LongContextLM
    from longboard_tasks.engine.machine import PeakMemory

    torch.set_num_threads(2)
    loaded = build_random("llama-large-vocabulary")
    requests = [
        Instance("loglikelihood", {}, args, i, ("choices", i, 1))
        for i, args in enumerate(choices(context=LENGTH - 16, count=CHOICES, length=16))
    ]
    if side == "ours":
        engine = open_engine(loaded)
        lm = LongContextLM(engine)
    else:
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1, max_length=2 * LENGTH)
    peak = PeakMemory(torch.device("cpu"))
    peak.start()
    results = lm.loglikelihood(requests, disable_tqdm=True)
    above = peak.above_start()
    # One cache of one row, whichever side: what has to be held.
    cache = LENGTH * loaded.model.config.num_hidden_layers * 2 * loaded.model.config.num_key_value_heads * 16 * 4
    return {
        "side": side,
        "vocabulary": VOCABULARY,
        "context_length": LENGTH,
        "weights_bytes": loaded.weights_bytes,
        "cache_bytes": cache,
        "over_weights_and_cache_bytes": above - cache,
        "first_logprob": results[0][0],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--side", choices=["ours", "hflm"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.ours_only or args.side:
        print(json.dumps(measure(args.side or "ours")))
        return
    from setup import write_result

    rows = []
    for side in ("ours", "hflm"):
        run = subprocess.run([sys.executable, __file__, "--side", side], capture_output=True, text=True, check=True)
        rows.append(json.loads(run.stdout.splitlines()[-1]))
    ratio = rows[1]["over_weights_and_cache_bytes"] / max(rows[0]["over_weights_and_cache_bytes"], 1)
    table = [
        "| side | over weights and cache | log-probability of the first choice |",
        "|---|---:|---:|",
        *[
            f"| {r['side']} | {r['over_weights_and_cache_bytes'] / 1e6:.0f} MB | {r['first_logprob']:.4f} |"
            for r in rows
        ],
        "",
        f"HFLM takes {ratio:.0f} times as much.",
    ]
    write_result("choices_memory", {"rows": rows, "ratio": ratio}, table, args.out)


if __name__ == "__main__":
    main()
