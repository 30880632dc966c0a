"""One block of samples through lm-eval: its Task and its `evaluate`, our LM class, scores from the suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task, TaskConfig
from lm_eval.filters import build_filter_ensemble

from longboard_tasks.contract import SampleRecord
from longboard_tasks.engine.errors import EvaluationError
from longboard_tasks.engine.journal import hash_prompt
from longboard_tasks.engine.lm import LongContextLM
from longboard_tasks.engine.samples import Sample, TokenText, tail_text

Scorer = Callable[[str, str, str], float]  # (task, answer, target) -> 0 to 1


class SampleTask(Task):
    """lm-eval's view of some samples: one `generate_until` request each, scored by the suite's own function."""

    VERSION = 1
    OUTPUT_TYPE = "generate_until"

    def __init__(self, name: str, samples: Sequence[Sample], tokenizer: Any, scorer: Scorer) -> None:
        # Not super().__init__: lm-eval 0.4.13 hands its config dict to TaskConfig as the task's name.
        self._config = TaskConfig(
            task=name,
            output_type="generate_until",
            num_fewshot=0,
            generation_kwargs={"do_sample": False, "until": []},  # each request has its own
        )
        self._filters = [build_filter_ensemble("none", [["take_first", None]])]
        self._instances: list[Instance] = []
        self.samples, self.tokenizer, self.scorer = list(samples), tokenizer, scorer

    def download(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to fetch: samples are generated."""

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return False

    def has_test_docs(self) -> bool:
        return True

    def test_docs(self) -> list[dict[str, Any]]:
        return [{"index": sample.index, "depth": sample.depth, "target": sample.target} for sample in self.samples]

    def doc_to_text(self, doc: dict[str, Any]) -> str:
        return tail_text(self.tokenizer, self.samples[doc["index"] - self.samples[0].index].ids)

    def doc_to_target(self, doc: dict[str, Any]) -> str:
        return doc["target"]

    def build_all_requests(self, **kwargs: Any) -> None:
        """Requests straight from token ids: no few-shot, no template (a suite's prompt has its own), no progress bar."""
        self._instances = [
            Instance(
                request_type="generate_until",
                doc=doc,
                arguments=(
                    TokenText(tail_text(self.tokenizer, sample.ids), sample.ids, sample.context),
                    {"until": list(sample.stops), "max_gen_toks": sample.new_tokens, "do_sample": False},
                ),
                idx=0,
                metadata=(self.config.task, number, 1),
            )
            for number, (doc, sample) in enumerate(zip(self.test_docs(), self.samples, strict=True))
        ]

    def construct_requests(self, doc: Any, ctx: Any, **kwargs: Any) -> list[Instance]:
        raise NotImplementedError("build_all_requests makes the requests")

    def process_results(self, doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
        return {"accuracy": self.scorer(str(self.config.task), results[0], doc["target"])}

    def aggregation(self) -> dict[str, Callable[[Sequence[float]], float]]:
        return {"accuracy": lambda scores: sum(scores) / len(scores)}

    def higher_is_better(self) -> dict[str, bool]:
        return {"accuracy": True}


def run_block(lm: LongContextLM, task: str, samples: Sequence[Sample], scorer: Scorer) -> tuple[SampleRecord, ...]:
    """Answer and score `samples` of one task, in order."""
    lm.truncated.clear()
    result = lm_eval.evaluate(
        lm=lm,
        task_dict={task: SampleTask(task, samples, lm.tokenizer, scorer)},
        bootstrap_iters=0,
        log_samples=True,
    )
    if result is None:
        raise EvaluationError("lm-eval gave no result: it does so on ranks above 0, and the engine runs on one.")
    rows = sorted(result["samples"][task], key=lambda row: row["doc_id"])
    cut = {entry.doc_id for entry in lm.truncated}
    return tuple(
        SampleRecord(
            task=task,
            index=sample.index,
            prompt_tokens=len(sample.ids),
            prompt_sha256=hash_prompt(sample.ids),
            prompt_tail=tail_text(lm.tokenizer, sample.ids),
            depth=sample.depth,
            target=sample.target,
            answer=row["filtered_resps"][0][:20_000],
            score=row["accuracy"],
            truncated=row["doc_id"] in cut,
        )
        for sample, row in zip(samples, rows, strict=True)
    )
