"""Every needle task can be run by stock lm-eval from our include path."""

import json
from pathlib import Path

from lm_eval.tasks import TaskManager

from longboard_tasks.suites.niah.suite import TASKS, make_sample, new_tokens

FOLDER = Path(__file__).parents[3] / "tasks/longboard_tasks/suites/lm_eval_tasks"


def name(task):
    return f"longboard_{task}" if task.startswith("niah_") else f"longboard_niah_{task}"


def test_lm_eval_finds_every_task_and_makes_the_prompts_that_the_suite_makes(plain):
    metadata = {"context_length": 8_192, "samples": 2, "seed": 4, "tokenizer": plain}
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    loaded = manager.load([name(task) for task in TASKS])["tasks"]
    assert set(loaded) == {name(task) for task in TASKS}
    for task in TASKS:
        found = loaded[name(task)]
        docs = list(found.test_docs())
        for index, doc in enumerate(docs):
            sample = make_sample(task=task, context_length=8_192, seed=4, index=index, tokenizer=plain)
            assert found.doc_to_text(doc) == plain.decode(list(sample.ids))
            references = json.loads(sample.target) if sample.target.startswith("[") else [sample.target]
            assert found.process_results(doc, [" ".join(references)]) == {"accuracy": 1}
            assert found.process_results(doc, [""]) == {"accuracy": 0}
        assert len(docs) == 2
        assert found.config.generation_kwargs["max_gen_toks"] == new_tokens(task)
        assert found.config.generation_kwargs["until"] == []
        assert found.VERSION == 1 or found.config.metadata["version"] == 1


def test_only_known_tasks_have_a_file():
    files = {path.stem for path in FOLDER.glob("longboard_niah_*.yaml")}
    assert files == {name(task) for task in TASKS}
