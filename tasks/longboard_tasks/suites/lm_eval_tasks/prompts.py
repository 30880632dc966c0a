"""Our accuracy suites as lm-eval's YAML tasks see them: a generated dataset, no hub, no download.

The prompts are the text of the same token segments that Longboard's own engine reads. A backend that tokenises that text as a
whole may merge tokens across a segment's border: then its prompt differs from ours by a token or two, and so may its score.
"""

from __future__ import annotations

from typing import Any

import datasets

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.babilong import scoring as babilong_scoring
from longboard_tasks.suites.babilong import suite as babilong
from longboard_tasks.suites.kv import scoring as kv_scoring
from longboard_tasks.suites.kv import suite as kv
from longboard_tasks.suites.niah import scoring as niah_scoring
from longboard_tasks.suites.niah import suite as niah
from longboard_tasks.suites.recall import scoring as recall_scoring
from longboard_tasks.suites.recall import suite as recall

MAKE = {"niah": niah.make_sample, "babilong": babilong.make_sample, "recall": recall.make_sample, "kv": kv.make_sample}


def generate(
    *,
    suite: str = "niah",
    task: str = "single",
    context_length: int = 4_096,
    samples: int = 20,
    seed: int = 0,
    tokenizer: Any = "",
    pretrained: Any = "",
    **_: Any,
) -> dict[str, datasets.Dataset]:
    """split -> rows. `tokenizer` or `pretrained` (a name, a folder or an object) is lm-eval's model argument of that name."""
    source = tokenizer or pretrained
    if not source:
        raise SuiteError(
            f"{suite}/{task} builds prompts to the token and needs to know the tokenizer: give --model_args pretrained=... "
            'or --metadata \'{"tokenizer": "..."}\'.'
        )
    if isinstance(source, str):
        from transformers import AutoTokenizer

        source = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    rows = []
    for index in range(samples):
        sample = MAKE[suite](task=task, context_length=context_length, seed=seed, index=index, tokenizer=source)
        prompt = source.decode(list(sample.ids), skip_special_tokens=False)
        rows.append(
            {
                "task": task,
                "index": index,
                "depth": sample.depth,
                "prompt": prompt,
                "target": sample.target,
                "tokens": len(sample.ids),
            }
        )
    return {"test": datasets.Dataset.from_list(rows)}


def score_niah(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    return {"accuracy": niah_scoring.score(doc["task"], results[0], doc["target"])}


def score_babilong(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Both columns: whole words, and the official comparison."""
    asked = (doc["task"], results[0], doc["target"])
    return {"accuracy": babilong_scoring.score(*asked), **babilong_scoring.secondary(*asked)}


def score_recall(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    asked = (doc["task"], results[0], doc["target"])
    return {"accuracy": recall_scoring.score(*asked), **recall_scoring.secondary(*asked)}


def score_kv(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    return {"accuracy": kv_scoring.score(doc["task"], results[0], doc["target"])}
