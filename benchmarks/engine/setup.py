"""Models, prompts and result files that the engine's benchmarks have in common."""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tasks"))

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.loading import LoadedModel, hash_tokenizer, position_limit, quiet_transformers
from longboard_tasks.engine.machine import report_hardware, report_software
from longboard_tasks.engine.shapes import BYTES
from longboard_tasks.intervals import median_interval
from longboard_tasks.prose import load_prose

RESULTS = Path(__file__).parent / "results"
WIDTH = {**BYTES, "hidden_size": 256}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    # About 3.5 M parameters each, the size of the reference zoo.
    "llama": (
        "LlamaConfig",
        {
            **WIDTH,
            "intermediate_size": 688,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 65_536,
        },
    ),
    "mamba2": (
        "Mamba2Config",
        {
            **WIDTH,
            "num_hidden_layers": 8,
            "state_size": 64,
            "num_heads": 8,
            "head_dim": 64,
            "n_groups": 1,
            "chunk_size": 128,
        },
    ),
    "llama-large-vocabulary": (
        "LlamaConfig",
        {
            **BYTES,
            "vocab_size": 128_256,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 65_536,
        },
    ),
}


def build_random(name: str) -> LoadedModel:
    """A random model of a named shape with the byte tokenizer, fp32, on the CPU."""
    import torch
    import transformers

    quiet_transformers()
    class_name, settings = MODELS[name]
    config = getattr(transformers, class_name)(**settings)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    tokenizer = build_byte_tokenizer()
    return LoadedModel(model, tokenizer, {}, hash_tokenizer(tokenizer), position_limit(config))


def prose(characters: int) -> str:
    """ASCII prose, so that a byte token is a character and both sides make the same tokens of it."""
    return load_prose().text.encode("ascii", "ignore").decode()[10_000 : 10_000 + characters]


def choices(*, context: int, count: int, length: int) -> list[tuple[str, str]]:
    """(context, continuation) for `count` continuations of `length` tokens with different first letters."""
    rng = random.Random(0)
    text = prose(context - 1) + ":"
    return [(text, " " + "".join(rng.choices("abcdefghijklmnop", k=length - 1))) for _ in range(count)]


def probes(*, context: int, count: int) -> list[str]:
    """One haystack with `count` facts in it, one prompt for each."""
    rng = random.Random(1)
    names = [f"{a}{b}" for a in "BCDFG" for b in ("ara", "ilo", "une", "ora", "eva")][:count]
    facts = [f" The code of {name} is {rng.randrange(10**6, 10**7)}." for name in names]
    text = prose(context)
    step = len(text) // len(facts)
    haystack = "".join(fact + text[i * step : (i + 1) * step] for i, fact in enumerate(facts))[:context]
    return [f"{haystack}\nWhat is the code of {name}? It is" for name in names]


def grid(*, context: int, depths: int, needles: int) -> list[str]:
    """The classic grid: one needle in one haystack, at each depth, for each needle."""
    rng = random.Random(2)
    text = prose(context)
    made = []
    for depth in range(depths):
        at = round(depth / max(depths - 1, 1) * len(text))
        for _ in range(needles):
            needle = f" The code is {rng.randrange(10**6, 10**7)}."
            made.append(f"{text[:at]}{needle}{text[at:]}\nThe code is")
    return made


def write_result(name: str, body: dict[str, Any], table: list[str], out: Path | None) -> None:
    """results/<name>.json and .md, with what the machine was; the table also goes to the terminal."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = out or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"hardware": report_hardware(device).model_dump(), "software": report_software()}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    (folder / f"{name}.json").write_text(json.dumps({"measured_at": when, "machine": machine, **body}, indent=1) + "\n")
    hardware = machine["hardware"]
    about = f"Measured {when[:10]} on {hardware['device']}, {hardware['cores']} cores, torch {machine['software']['torch']}."
    (folder / f"{name}.md").write_text("\n".join([*table, "", about]) + "\n")
    print("\n".join(table))


def summarise(seconds: list[float]) -> dict[str, float | list[float]]:
    """Median with its order-statistics interval (the whole range under 6 repeats), and the raw values."""
    value, low, high = median_interval(seconds)
    return {"median_s": value, "low_s": low, "high_s": high, "all_s": seconds}


__all__ = ["build_random", "choices", "grid", "probes", "prose", "summarise", "write_result"]
