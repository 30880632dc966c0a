"""What suites, tasks, metrics and methods exist. No torch here: the platform reads this to check and to price a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longboard_tasks.contract import Unit


class UnknownName(ValueError):
    """A suite, task, metric or method that the catalogue does not have; the message lists what it has."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    name: str
    title: str
    unit: Unit
    higher_is_better: bool


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


Phase = Literal["none", "prefill", "decode", "both"]


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """What a page and a request need to know of a Method; `longboard_tasks.suites.kv` has the code.

    phase       when the cache is made smaller: after the prompt, while decoding, or both
    needs       what the method looks at beside keys and values
    budgets     the only budgets it has beside 1; empty: any. Of a quantised cache: its bits of 16
    parameters  settings and their defaults
    """

    name: str
    title: str
    family: str
    summary: str
    takes_budget: bool
    source: str = ""
    phase: Phase = "none"
    needs: str = "nothing"
    budgets: tuple[float, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def needs_attention(self) -> bool:
        return "attention" in self.needs


METRICS = {
    metric.name: metric
    for metric in (
        MetricInfo("accuracy", "Accuracy", "share", True),
        MetricInfo("accuracy_by_depth", "Accuracy by depth", "share", True),
        MetricInfo("accuracy_official", "Accuracy, official scorer", "share", True),
        MetricInfo("accuracy_characters", "Accuracy by character", "share", True),
        MetricInfo("ttft_ms", "Time to first token (TTFT)", "ms", False),
        MetricInfo("tpot_ms", "Time per output token (TPOT)", "ms", False),
        MetricInfo("prefill_tokens_per_s", "Prefill rate", "tokens/s", True),
        MetricInfo("decode_tokens_per_s", "Decode rate", "tokens/s", True),
        MetricInfo("peak_memory_bytes", "Peak memory", "bytes", False),
        MetricInfo("cache_bytes", "Cache and state", "bytes", False),
        MetricInfo("decode_j_per_token", "Energy per output token", "J", False),
        MetricInfo("prefill_j_per_token", "Energy per prompt token", "J", False),
        MetricInfo("train_tokens_per_s", "Training rate", "tokens/s", True),
        MetricInfo("train_peak_memory_bytes", "Peak memory of training", "bytes", False),
        MetricInfo("forward_tokens_per_s", "Inference rate", "tokens/s", True),
        MetricInfo("forward_peak_memory_bytes", "Peak memory of inference", "bytes", False),
    )
}

# What the other axis of a front can be, in the order that pages offer it; all from efficiency/generate.
COST_METRICS = (
    "ttft_ms",
    "tpot_ms",
    "peak_memory_bytes",
    "cache_bytes",
    "decode_tokens_per_s",
    "prefill_tokens_per_s",
    "decode_j_per_token",
    "prefill_j_per_token",
)
COST_TASK = "generate"
# The other axis for suites that train: of the accuracy's own task, at its own length.
TRAINING_COSTS = ("train_tokens_per_s", "train_peak_memory_bytes", "forward_tokens_per_s")
# A whole bundle may lack these: energy without a valid window of a counter; depths are those that the samples have.
# A CPU has no counter for the memory of one pass.
SOMETIMES_ABSENT = frozenset(
    {
        "accuracy_by_depth", "decode_j_per_token", "prefill_j_per_token", "forward_peak_memory_bytes",
        "train_peak_memory_bytes",
    }
)  # fmt: skip

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

_AWARE = ("question_aware", "false")
_WINDOW = (("window_size", "64"), ("kernel_size", "5"), ("pooling", "avg"))
_PACKED = (("group", "32"), ("residual", "128"), _AWARE)

METHODS = {
    method.name: method
    for method in (
        MethodInfo("none", "Full cache", "none", "The model as it is: every key and value is kept.", False),
        MethodInfo(
            "int8", "8-bit cache", "quantised",
            "Keys in groups of 32 tokens a channel, values in groups of 32 channels a token; the last 128 tokens stay.",
            True, "Liu et al. 2024 (KIVI, arXiv:2402.02750)", "both", "nothing", (0.5,), _PACKED,
        ),
        MethodInfo(
            "int4", "4-bit cache", "quantised", "As the 8-bit cache, with 16 levels a number.",
            True, "Liu et al. 2024 (KIVI, arXiv:2402.02750)", "both", "nothing", (0.25,), _PACKED,
        ),
        MethodInfo(
            "int2", "2-bit cache", "quantised", "As the 8-bit cache, with 4 levels a number.",
            True, "Liu et al. 2024 (KIVI, arXiv:2402.02750)", "both", "nothing", (0.125,), _PACKED,
        ),
        MethodInfo(
            "streaming_llm", "StreamingLLM", "window", "The first 4 tokens and the most recent ones.",
            True, "Xiao et al. 2023 (arXiv:2309.17453)", "both", "nothing", (), (("n_sink", "4"), _AWARE),
        ),
        MethodInfo(
            "h2o", "H2O", "token dropping", "Half of the budget to recent tokens, half to those that got most attention so far.",
            True, "Zhang et al. 2023 (arXiv:2306.14048)", "both", "attention of every query", (), (_AWARE,),
        ),
        MethodInfo(
            "snapkv", "SnapKV", "token dropping", "What the last 64 queries look at, pooled over neighbours, and those 64.",
            True, "Li et al. 2024 (arXiv:2404.14469)", "prefill", "attention of a window", (), (*_WINDOW, _AWARE),
        ),
        MethodInfo(
            "pyramidkv", "PyramidKV", "token dropping", "SnapKV's choice, with more room in the first layers than in the last.",
            True, "Cai et al. 2024 (arXiv:2406.02069)", "prefill", "attention of a window", (),
            (("beta", "20"), *_WINDOW, _AWARE),
        ),
        MethodInfo(
            "tova", "TOVA", "token dropping", "What the last query looks at, over all heads of a layer.",
            True, "Oren et al. 2024 (arXiv:2401.06104)", "both", "attention of the last query", (), (_AWARE,),
        ),
        MethodInfo(
            "knorm", "Key norm", "token dropping", "Tokens whose keys are shortest.",
            True, "Devoto et al. 2024 (arXiv:2406.11430)", "both", "nothing", (), (_AWARE,),
        ),
        MethodInfo(
            "expected_attention", "Expected attention", "token dropping",
            "Attention that the queries to come would pay, were they like those of the prompt, times the size of the value.",
            True, "Devoto et al. 2025 (arXiv:2510.00636)", "prefill", "mean and covariance of the queries", (),
            (
                ("n_future_positions", "512"), ("n_sink", "4"), ("use_covariance", "true"), ("use_vnorm", "true"),
                ("epsilon", "0"), _AWARE,
            ),
        ),
        MethodInfo(
            "observed_attention", "Observed attention", "token dropping",
            "Attention that a token got from the prompt, per query that could see it: what an oracle of the prompt would keep.",
            True, "kvpress (NVIDIA), after H2O", "prefill", "attention of every query", (), (_AWARE,),
        ),
        MethodInfo(
            "random", "Random eviction", "token dropping", "Any token, by a fixed draw: the control.",
            True, "", "both", "nothing", (), (("seed", "0"), _AWARE),
        ),
        MethodInfo(
            "lazy_layers", "Lazy layers", "layer-wise window",
            "Layers that look at first and recent tokens anyway keep only those; the busiest layers keep everything.",
            True, "After Zhang et al. 2024 (LightTransfer, arXiv:2410.13846)", "prefill", "attention of a window", (),
            (("n_sink", "4"), ("n_recent", "1020"), ("n_last", "64"), _AWARE),
        ),
        MethodInfo(
            "prompt_compression", "Prompt compression", "prompt compression",
            "Tokens that the model could have guessed are left out, and the rest is read again as the prompt.",
            True, "Li et al. 2023 (Selective Context, arXiv:2310.06201)", "prefill", "log-probabilities of the prompt", (),
            (_AWARE,),
        ),
    )
}  # fmt: skip


def find_suite(name: str) -> SuiteInfo:
    if name not in SUITES:
        raise UnknownName(f'Suite "{name}" is not known. There are: {", ".join(SUITES)}.')
    return SUITES[name]


def find_metric(name: str) -> MetricInfo:
    if name not in METRICS:
        raise UnknownName(f'Metric "{name}" is not known. There are: {", ".join(METRICS)}.')
    return METRICS[name]


def find_method(name: str) -> MethodInfo:
    if name not in METHODS:
        raise UnknownName(f'Method "{name}" is not known. There are: {", ".join(METHODS)}.')
    return METHODS[name]
