"""`niah@1` as lm-eval's YAML tasks see it: a generated dataset, no hub, no download.

The prompts are the text of the same token segments that Longboard's own engine reads. A backend that tokenises that text as a
whole may merge tokens across a needle's border: then its prompt differs from ours by a token or two, and so may its score.
"""

from __future__ import annotations

from typing import Any

import datasets

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.niah.suite import make_sample, score


def generate(
    *,
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
            f"niah@1/{task} builds prompts to the token and needs to know the tokenizer: give --model_args pretrained=... "
            'or --metadata \'{"tokenizer": "..."}\'.'
        )
    if isinstance(source, str):
        from transformers import AutoTokenizer

        source = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    rows = []
    for index in range(samples):
        sample = make_sample(task=task, context_length=context_length, seed=seed, index=index, tokenizer=source)
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


def score_any(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    return {"accuracy": score(doc["task"], results[0], doc["target"])}
