"""The suites and their tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longboard_tasks.catalogue.metrics import TRAINING_COSTS
from longboard_tasks.catalogue.names import UnknownName


@dataclass(frozen=True, slots=True)
class TaskInfo:
    name: str
    title: str
    metrics: tuple[str, ...]
    chance: float = 0.0  # the score of a guesser who never reads the context
    least_context_length: int = 1  # by the zoo's tokenizer; a node checks with the model's own
    tolerance: float = 0.05  # two nodes' shares of the same samples agree within it: one close token in twenty
    category: str = ""  # tasks of one category stand together in a suite's table
    lengths: tuple[int, ...] = ()  # the only context lengths that it has; empty: any from the least on
    # "scored": part of the suite's mean. "beside": a board of its own, no part of the mean. "unranked": neither.
    role: Literal["scored", "beside", "unranked"] = "scored"

    def runs_at(self, context_length: int) -> bool:
        return context_length in self.lengths if self.lengths else self.least_context_length <= context_length


@dataclass(frozen=True, slots=True)
class SuiteInfo:
    name: str
    version: int
    title: str
    kind: Literal["accuracy", "efficiency"]
    summary: str
    tasks: tuple[TaskInfo, ...]
    headline_metric: str
    default_samples: int
    least_context_length: int
    trains: bool = False  # its Runs train a registered architecture from scratch; no model is loaded

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    def task(self, name: str) -> TaskInfo:
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownName(
            f'Task "{name}" is not in suite {self.label}. It has: {", ".join(t.name for t in self.tasks)}.'
        )


ONE = ("accuracy",)
DEPTHS = ("accuracy", "accuracy_by_depth")
OFFICIAL = ("accuracy", "accuracy_official")
TRAINED = ("accuracy", *TRAINING_COSTS)

SUITES = {
    suite.name: suite
    for suite in (
        SuiteInfo(
            name="niah",
            version=1,
            title="Needle in a haystack",
            kind="accuracy",
            summary="A planted fact in real prose has to be given back, at every depth of the context.",
            tasks=(
                TaskInfo("single", "Single needle in prose", DEPTHS, least_context_length=80),
                TaskInfo("niah_single_1", "Single needle in noise", DEPTHS, least_context_length=170),
                TaskInfo("niah_single_2", "Single needle in prose (RULER)", DEPTHS, least_context_length=130),
                TaskInfo("niah_single_3", "UUID needle in prose", DEPTHS, least_context_length=170),
                TaskInfo("niah_multikey_1", "Four keys in prose", DEPTHS, least_context_length=210),
                TaskInfo("niah_multikey_2", "Needle among needles", DEPTHS, least_context_length=160),
                TaskInfo("niah_multikey_3", "UUIDs among UUIDs", DEPTHS, least_context_length=350),
                TaskInfo("niah_multivalue", "Four values of one key", ONE, least_context_length=220),
                TaskInfo("niah_multiquery", "Four keys, all asked", ONE, least_context_length=270),
                TaskInfo("vt", "Variable tracking", ONE, least_context_length=900),
                TaskInfo("cwe", "Common words", ONE, chance=0.0024, least_context_length=900),
                TaskInfo("fwe", "Frequent coded words", ONE, least_context_length=320),
                TaskInfo("qa_1", "One document answers", DEPTHS, least_context_length=360),
                TaskInfo("qa_2", "Two documents answer", ONE, least_context_length=430),
                TaskInfo("grid", "The classic grid", DEPTHS, chance=0.05, least_context_length=110),
                TaskInfo("passkey", "Pass key", DEPTHS, least_context_length=110),
                TaskInfo("streamed", "The streamed grid", DEPTHS, chance=0.05, least_context_length=1024),
            ),
            headline_metric="accuracy",
            default_samples=20,
            least_context_length=80,
        ),
        SuiteInfo(
            name="babilong",
            version=1,
            title="BABILong",
            kind="accuracy",
            summary="Short stories spread over prose, and questions that need one, two or many of their facts.",
            tasks=(
                TaskInfo("qa1", "One supporting fact", OFFICIAL, chance=1 / 6, least_context_length=600),
                TaskInfo("qa2", "Two supporting facts", OFFICIAL, chance=1 / 6, least_context_length=600),
                TaskInfo("qa3", "Three supporting facts", OFFICIAL, chance=1 / 5, least_context_length=600),
                TaskInfo("qa4", "Two-argument relations", OFFICIAL, chance=1 / 5, least_context_length=600),
                TaskInfo("qa5", "Three-argument relations", OFFICIAL, chance=0.31, least_context_length=600),
                TaskInfo("qa6", "Yes or no", OFFICIAL, chance=1 / 2, least_context_length=600),
                TaskInfo("qa7", "Counting", OFFICIAL, chance=0.48, least_context_length=600),
                TaskInfo("qa8", "Lists and sets", OFFICIAL, chance=0.48, least_context_length=600),
                TaskInfo("qa9", "Simple negation", OFFICIAL, chance=1 / 2, least_context_length=600),
                TaskInfo("qa10", "Indefinite knowledge", OFFICIAL, chance=1 / 3, least_context_length=600),
                TaskInfo("qa11", "Basic coreference", OFFICIAL, chance=1 / 6, least_context_length=600),
                TaskInfo("qa12", "Conjunction", OFFICIAL, chance=1 / 6, least_context_length=600),
                TaskInfo("qa13", "Compound coreference", OFFICIAL, chance=1 / 6, least_context_length=600),
                TaskInfo("qa14", "Time reasoning", OFFICIAL, chance=1 / 5, least_context_length=600),
                TaskInfo("qa15", "Basic deduction", OFFICIAL, chance=1 / 4, least_context_length=600),
                TaskInfo("qa16", "Basic induction", OFFICIAL, chance=1 / 4, least_context_length=600),
                TaskInfo("qa17", "Positional reasoning", OFFICIAL, chance=1 / 2, least_context_length=600),
                TaskInfo("qa18", "Size reasoning", OFFICIAL, chance=0.90, least_context_length=600),
                TaskInfo("qa19", "Path finding", OFFICIAL, chance=1 / 12, least_context_length=600),
                TaskInfo("qa20", "Motivations", OFFICIAL, chance=0.71, least_context_length=600),
            ),
            headline_metric="accuracy",
            default_samples=20,
            least_context_length=600,
        ),
        SuiteInfo(
            name="recall",
            version=1,
            title="Copying and recall",
            kind="accuracy",
            summary="Copy a string, look a name up in a phone book, give values for many keys: what a fixed state finds hard.",
            tasks=(
                TaskInfo("copy", "String copying", ("accuracy", "accuracy_characters"), least_context_length=80),
                TaskInfo(
                    "ngram_prefix",
                    "Look-up after an n-gram",
                    ("accuracy", "accuracy_by_depth", "accuracy_characters"),
                    least_context_length=100,
                ),
                TaskInfo(
                    "ngram_suffix",
                    "Look-up before an n-gram",
                    ("accuracy", "accuracy_by_depth", "accuracy_characters"),
                    least_context_length=100,
                ),
                TaskInfo("phone_book", "Phone book", DEPTHS, least_context_length=180),
                TaskInfo("mqar", "Multi-query associative recall", ONE, least_context_length=160),
            ),
            headline_metric="accuracy",
            default_samples=20,
            least_context_length=80,
        ),
        SuiteInfo(
            name="kv",
            version=1,
            title="Smaller caches",
            kind="accuracy",
            summary="What a smaller cache loses: the same prompts for every method and budget, in six categories.",
            tasks=(
                TaskInfo("needle", "Needle in prose", DEPTHS, least_context_length=80, category="retrieval"),
                TaskInfo("needle_keys", "Four keys in prose", DEPTHS, least_context_length=210, category="retrieval"),
                TaskInfo(
                    "needle_values", "Four values of one key", ONE, least_context_length=220, category="retrieval"
                ),
                TaskInfo("tracking", "Variable tracking", ONE, least_context_length=900, category="tracking"),
                TaskInfo("phone_book", "Phone book", DEPTHS, least_context_length=180, category="recall"),
                TaskInfo("pairs", "Keys and values", ONE, least_context_length=160, category="recall"),
                TaskInfo("few_shot", "Labels by example", ONE, 1 / 6, least_context_length=1_120, category="few-shot"),
                TaskInfo(
                    "one_fact", "One fact in prose", ONE, 1 / 6, least_context_length=600, category="questions in noise"
                ),
                TaskInfo(
                    "two_facts",
                    "Two facts in prose",
                    ONE,
                    1 / 6,
                    least_context_length=600,
                    category="questions in noise",
                ),
                TaskInfo(
                    "one_document", "One document answers", DEPTHS, least_context_length=360, category="documents"
                ),
                TaskInfo("two_documents", "Two documents answer", ONE, least_context_length=430, category="documents"),
            ),
            headline_metric="accuracy",
            default_samples=20,
            least_context_length=80,
        ),
        SuiteInfo(
            name="lra",
            version=1,
            title="Long Range Arena",
            kind="accuracy",
            summary=(
                "Six tasks of 1K to 16K tokens, each trained from scratch under one budget: compares architectures, not "
                "checkpoints."
            ),
            tasks=(
                TaskInfo("listops", "ListOps", TRAINED, 0.175, 2_000, lengths=(2_000,)),
                TaskInfo("text", "Byte-level text", TRAINED, 0.5, 4_000, lengths=(4_000,)),
                TaskInfo("retrieval", "Document retrieval", TRAINED, 0.5, 4_000, lengths=(4_000,)),
                TaskInfo("image", "Pixel-sequence images", TRAINED, 0.1, 1_024, lengths=(1_024,)),
                TaskInfo("pathfinder", "Pathfinder", TRAINED, 0.5, 1_024, lengths=(1_024,)),
                TaskInfo("pathx", "Path-X", TRAINED, 0.5, 16_384, lengths=(16_384,)),
                TaskInfo(
                    "listops_short", "ListOps, 1,500 steps", TRAINED, 0.175, 2_000, lengths=(2_000,), role="beside"
                ),
                TaskInfo(
                    "speed",
                    "Speed of the text classifier",
                    (
                        "forward_tokens_per_s",
                        "train_tokens_per_s",
                        "forward_peak_memory_bytes",
                        "train_peak_memory_bytes",
                    ),
                    least_context_length=1_024,
                    lengths=(1_024, 2_048, 3_072, 4_096, 8_192, 16_384),
                    role="beside",
                ),
                TaskInfo(
                    "text_stand_in",
                    "Generated stand-in for text",
                    TRAINED,
                    0.5,
                    4_000,
                    lengths=(4_000,),
                    role="unranked",
                ),
                TaskInfo(
                    "retrieval_stand_in",
                    "Generated stand-in for retrieval",
                    TRAINED,
                    0.5,
                    4_000,
                    lengths=(4_000,),
                    role="unranked",
                ),
                TaskInfo(
                    "image_stand_in",
                    "Generated stand-in for images",
                    TRAINED,
                    0.1,
                    1_024,
                    lengths=(1_024,),
                    role="unranked",
                ),
                TaskInfo(
                    "listops_smoke",
                    "ListOps, four steps of a toy",
                    TRAINED,
                    0.175,
                    2_000,
                    lengths=(2_000,),
                    role="unranked",
                ),
            ),
            headline_metric="accuracy",
            default_samples=3,
            least_context_length=1_024,
            trains=True,
        ),
        SuiteInfo(
            name="efficiency",
            version=1,
            title="Efficiency",
            kind="efficiency",
            summary="Prefill and decode speed, and the memory that they take, measured at the context length itself.",
            tasks=(
                TaskInfo(
                    "generate",
                    "Prefill, then decode at the length",
                    (
                        "ttft_ms",
                        "tpot_ms",
                        "prefill_tokens_per_s",
                        "decode_tokens_per_s",
                        "peak_memory_bytes",
                        "cache_bytes",
                        # Where the counter of the GPU gave a valid window; `measure` alone waits for one.
                        "decode_j_per_token",
                        "prefill_j_per_token",
                    ),
                ),
            ),
            headline_metric="ttft_ms",
            default_samples=5,
            least_context_length=16,
        ),
    )
}


def find_suite(name: str) -> SuiteInfo:
    if name not in SUITES:
        raise UnknownName(f'Suite "{name}" is not known. There are: {", ".join(SUITES)}.')
    return SUITES[name]
