"""LongContextLM: lm-eval's model interface over the engine. lm-eval stays the harness; this is how it reads long prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from longboard_tasks.engine.engine import Engine
from longboard_tasks.engine.errors import EvaluationError, TruncationRefused
from longboard_tasks.engine.loading import has_position_table
from longboard_tasks.engine.samples import TokenText
from longboard_tasks.engine.trie import Ask

Truncation = Literal["refuse", "left", "middle", "right"]


@dataclass(frozen=True, slots=True)
class Truncated:
    """One prompt that was cut: which, how long it was, how much was kept (tokens)."""

    request: int
    doc_id: int | None
    tokens: int
    kept: int


class LongContextLM(TemplateLM):
    """Answers lm-eval's three request types with shared prefixes, chunked prefill and logits only where they are asked for.

    A context that is a TokenText is taken by its ids; any other is tokenised as lm-eval's own HFLM does, once.
    truncation  what to do with a prompt longer than `max_length`: refuse (raise), or drop tokens at the left, in the middle,
                at the right. Every cut prompt is listed in `truncated`.
    max_length  tokens; None: the model's own positions, and no limit for a model without any
    on_answer   called with (done, total, tokens read so far) after each finished request
    """

    def __init__(
        self,
        engine: Engine,
        *,
        truncation: Truncation = "refuse",
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        on_answer: Callable[[int, int, int], None] | None = None,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.tokenizer = engine.loaded.tokenizer
        self.truncation: Truncation = truncation
        self.max_gen_toks = max_gen_toks
        self.add_bos_token = add_bos_token
        self.on_answer = on_answer
        self.truncated: list[Truncated] = []
        self._max_length = max_length if max_length is not None else engine.loaded.max_positions

    @property
    def max_length(self) -> int | None:
        return self._max_length

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None else self.tokenizer.eos_token_id

    @property
    def device(self) -> Any:
        return self.engine.loaded.device

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids as HFLM makes them: the tokenizer's own special tokens unless told otherwise, never a second BOS."""
        if isinstance(string, TokenText):
            return list(string.ids)
        special = self.add_bos_token if add_special_tokens is None else add_special_tokens
        bos = self.tokenizer.decode([self.prefix_token_id])
        if add_special_tokens is None and bos and string.startswith(bos):
            special = False
        return list(self.tokenizer.encode(string, **({} if special is None else {"add_special_tokens": special})))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if isinstance(context, TokenText):
            return list(context.ids), list(self.tokenizer.encode(continuation, add_special_tokens=False))
        return super()._encode_pair(context, continuation)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        asks, stops = [], []
        for number, request in enumerate(requests):
            context, settings = request.args
            settings = normalize_gen_kwargs(settings, self.max_gen_toks)
            if settings.get("do_sample"):
                raise EvaluationError(
                    "This engine decodes greedily: do_sample is not available, drop it from generation_kwargs."
                )
            eos = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
            until = handle_stop_sequences(settings["until"], eos=eos)
            new_tokens = settings["max_gen_toks"]
            ids = self._cut(self.tok_encode(context), new_tokens, number, request)
            asks.append(
                Ask(
                    ids=ids,
                    new_tokens=new_tokens,
                    is_done=self._stopper(until),
                    context=context.context if isinstance(context, TokenText) else 0,
                )
            )
            stops.append(until)
        texts = [""] * len(asks)
        for number, (index, answer) in enumerate(self.engine.answer(asks), start=1):
            text = self.tokenizer.decode(answer.tokens, skip_special_tokens=True)
            texts[index] = postprocess_generated_text(generation=text, stop=stops[index], think_end_token=None)
            self.cache_hook.add_partial("generate_until", requests[index].args, texts[index])
            self._report(number, len(asks))
        return texts

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        asks = []
        for number, (_, context, continuation) in enumerate(requests):
            # The last token predicts nothing that is asked for.
            ids = self._cut([*context, *continuation][:-1], 0, number, None, keep=len(continuation))
            asks.append(Ask(ids=ids, targets=continuation))
        results: list[tuple[float, bool]] = [(0.0, False)] * len(asks)
        for number, (index, answer) in enumerate(self.engine.answer(asks), start=1):
            results[index] = (answer.logprob, answer.is_greedy)
            if requests[index][0] is not None:
                self.cache_hook.add_partial("loglikelihood", requests[index][0], results[index])
            self._report(number, len(asks))
        return results

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        windows: list[tuple[Any, list[int], list[int]]] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            length = self.max_length or len(ids)
            pieces = get_rolling_token_windows(
                token_list=ids, prefix_token=self.prefix_token_id, max_seq_len=length, context_len=1
            )
            for context, continuation in map(make_disjoint_window, pieces):
                windows.append((None, context, continuation))
                owners.append(number)
        totals = [0.0] * len(requests)
        for number, (logprob, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[number] += logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _cut(self, ids: list[int], new_tokens: int, number: int, request: Instance | None, keep: int = 0) -> list[int]:
        """`ids` as they fit, by the truncation policy. The last `keep` tokens, which are scored, are never cut."""
        limit = self.max_length
        table = has_position_table(self.engine.loaded.model.config)
        # Rotary positions go on past the limit; a table of learned ones ends. A cut always makes room for the answer.
        if limit is None or len(ids) + (new_tokens if table else 0) <= limit:
            return ids
        if self.truncation == "refuse":
            raise TruncationRefused(
                f"A prompt has {len(ids)} tokens{f' and an answer of {new_tokens}' if table else ''}; the model has "
                f"{limit} positions. Shorten it, or ask for truncation left, middle or right."
            )
        room = limit - new_tokens
        if room < max(keep, 1):
            raise TruncationRefused(
                f"Nothing is left of a prompt: the limit is {limit} tokens and {new_tokens} are for the answer."
            )
        self.truncated.append(Truncated(number, getattr(request, "doc_id", None), len(ids), room))
        if self.truncation == "left":
            return ids[-room:]
        if self.truncation == "right":
            return [*ids[: room - keep], *ids[len(ids) - keep :]]
        head = (room - keep) // 2
        return [*ids[:head], *ids[len(ids) - (room - head) :]]

    def _stopper(self, until: Sequence[str]) -> Callable[[list[int]], bool]:
        """True once the tokens hold an end-of-text id or spell a stop string (the tokens of the string and two more are looked
        at, as HFLM does: a tokenizer may spell it otherwise)."""
        ends = _end_ids(self.engine.loaded.model, self.tokenizer)
        strings = [(text, len(self.tokenizer.encode(text, add_special_tokens=False)) + 2) for text in until if text]

        def is_done(tokens: list[int]) -> bool:
            if tokens[-1] in ends:
                return True
            return any(text in self.tokenizer.decode(tokens[-span:]) for text, span in strings)

        return is_done

    def _report(self, done: int, total: int) -> None:
        if self.on_answer:
            self.on_answer(done, total, self.engine.counters.tokens)


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every id that ends a text: the generation config's, and the tokenizer's."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {end for end in [*listed, tokenizer.eos_token_id] if isinstance(end, int)}
