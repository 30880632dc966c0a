"""What can be done to a cache at inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longboard_tasks.catalogue.names import UnknownName

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


def find_method(name: str) -> MethodInfo:
    if name not in METHODS:
        raise UnknownName(f'Method "{name}" is not known. There are: {", ".join(METHODS)}.')
    return METHODS[name]
