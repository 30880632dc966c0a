"""Our suites from stock lm-eval: `--include_path`, its own HFLM, no Longboard engine."""

import logging
from pathlib import Path

import lm_eval
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.engine import open_engine
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.lm import LongContextLM
from longboard_tasks.engine.loading import LoadedModel, hash_tokenizer
from longboard_tasks.engine.shapes import build_config

TASKS = Path(__file__).parents[2] / "tasks/longboard_tasks/suites/lm_eval_tasks"


@pytest.fixture(scope="module")
def loaded():
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(build_config("tiny-llama")).eval().requires_grad_(False)
    tokenizer = build_byte_tokenizer()
    return LoadedModel(model, tokenizer, {}, hash_tokenizer(tokenizer), 32_768)


def run(model, tokenizer):
    metadata = {"context_length": 512, "samples": 5, "tokenizer": tokenizer}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    return lm_eval.simple_evaluate(
        model=model, tasks=["longboard_niah_single"], task_manager=manager, metadata=metadata, bootstrap_iters=0
    )


def test_lm_evals_own_model_and_ours_give_the_same_answers_to_the_same_prompts(loaded):
    theirs = run(HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1), loaded.tokenizer)
    ours = run(LongContextLM(open_engine(loaded, chunk=128)), loaded.tokenizer)
    task = "longboard_niah_single"
    assert theirs["results"][task]["accuracy,none"] == ours["results"][task]["accuracy,none"]
    pairs = list(zip(theirs["samples"][task], ours["samples"][task], strict=True))
    assert len(pairs) == 5
    for a, b in pairs:
        assert a["doc"] == b["doc"]
        assert a["doc"]["tokens"] == 512
        assert a["filtered_resps"] == b["filtered_resps"]
    assert theirs["versions"][task] == 1


def test_without_a_tokenizer_the_task_says_how_to_give_one():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    with pytest.raises(SuiteError, match="--model_args pretrained"):
        manager.load(["longboard_niah_single"])
