"""Our suites from stock lm-eval: `--include_path`, its own HFLM, no Longboard engine."""

import importlib
import json
import logging
from pathlib import Path

import lm_eval
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from longboard_tasks.catalogue.suites import SUITES
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


def name(suite, task):
    return f"longboard_{task}" if task.startswith("niah_") else f"longboard_{suite}_{task}"


def right_answer(target):
    """An answer that has to score 1, from the target as the plans write it."""
    if target.startswith("["):
        return " ".join(json.loads(target))
    return json.loads(target)["answer"] if target.startswith("{") else target


@pytest.mark.parametrize(("suite", "length"), [("niah", 8_192), ("babilong", 2_048), ("recall", 1_024), ("kv", 8_192)])
def test_every_task_is_there_with_the_prompts_and_the_scores_of_the_suite(suite, length, loaded):
    module = importlib.import_module(f"longboard_tasks.suites.{suite}.suite")
    tokenizer = loaded.tokenizer
    if suite in ("babilong", "kv"):
        length *= 8  # a byte a token
    metadata = {"context_length": length, "samples": 2, "seed": 4, "tokenizer": tokenizer}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    tasks = [row.name for row in SUITES[suite].tasks]
    found = manager.load([name(suite, task) for task in tasks])["tasks"]
    for task in tasks:
        one = found[name(suite, task)]
        docs = list(one.test_docs())
        assert len(docs) == 2
        for index, doc in enumerate(docs):
            sample = module.make_sample(task=task, context_length=length, seed=4, index=index, tokenizer=tokenizer)
            assert one.doc_to_text(doc) == tokenizer.decode(list(sample.ids))
            assert doc["target"] == sample.target
            assert one.process_results(doc, [right_answer(sample.target)])["accuracy"] == 1
            assert one.process_results(doc, [""])["accuracy"] == 0
        assert one.config.generation_kwargs["max_gen_toks"] == module.new_tokens(task)
        assert one.config.generation_kwargs["until"] == []
        assert set(one.aggregation()) == {m for m in SUITES[suite].task(task).metrics if m != "accuracy_by_depth"}


def test_each_file_is_a_task_of_a_suite():
    files = {path.stem for path in TASKS.glob("longboard_*.yaml")}
    suites = ("niah", "babilong", "recall", "kv")
    assert files == {name(suite, row.name) for suite in suites for row in SUITES[suite].tasks}
