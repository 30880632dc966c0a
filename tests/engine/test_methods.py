"""The hook for cache methods: called where it says, seen in the bytes, measured before the question is read."""

import pytest
import torch
from tiny import open_tiny, random_ids

from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.methods import attention_layers, build_method
from longboard_tasks.engine.trie import Ask


class SinkWindow:
    """Keeps the first 4 and the last `window` keys of the context (StreamingLLM, Xiao et al. 2023, arXiv:2309.17453), once."""

    compresses = True

    def __init__(self, window: int) -> None:
        self.window, self.calls = window, []

    def prepare(self, stream):
        self.calls.append("prepare")

    def after_context(self, stream):
        self.calls.append(f"after_context {stream.position}")
        for layer in attention_layers(stream):
            if layer.length > self.window + 4:
                kept = [torch.cat([t[:, :, :4], t[:, :, -self.window :]], dim=2) for t in (layer.keys, layer.values)]
                layer.replace(*kept)

    def after_step(self, stream):
        self.calls.append("after_step")


def questions(context=400, count=3):
    haystack = random_ids(context)
    return [Ask(ids=haystack + random_ids(12, seed=i), new_tokens=4, context=context) for i in range(count)]


def test_the_context_is_compressed_once_and_before_any_question():
    method = SinkWindow(60)
    engine = open_tiny("llama", method=method)
    assert len(dict(engine.answer(questions()))) == 3
    assert method.calls[:2] == ["prepare", "after_context 400"]
    assert method.calls.count("after_context 400") == 1
    assert set(method.calls[2:]) == {"after_step"}


def test_each_stage_reports_the_bytes_it_holds():
    engine = open_tiny("llama", method=SinkWindow(60))
    list(engine.answer(questions(count=1)))
    token = 2 * 2 * 2 * 16 * 4
    assert engine.counters.stages == {
        "context": 400 * token,
        "compressed": 64 * token,
        "decoded": (64 + 12 + 3) * token,
    }


@pytest.mark.parametrize("count", [1, 3])
def test_a_window_that_keeps_everything_changes_no_answer(count):
    plain = dict(open_tiny("llama").answer(questions(count=count)))
    kept = dict(open_tiny("llama", method=SinkWindow(10_000)).answer(questions(count=count)))
    assert {i: a.tokens for i, a in kept.items()} == {i: a.tokens for i, a in plain.items()}


def test_what_is_dropped_changes_the_answer_and_positions_go_on():
    # The reference: the same model, one pass, with a mask that hides the dropped keys from the question.
    context, window = 200, 40
    (ask,) = questions(context, count=1)
    engine = open_tiny("llama", method=SinkWindow(window))
    seen = []
    engine.on_logits = lambda index, logits: seen.append(logits.clone())
    list(engine.answer([ask]))
    total = len(ask.ids)
    mask = torch.ones(total, total, dtype=torch.bool).tril()
    mask[context:, 4 : context - window] = False
    hidden = torch.zeros(1, 1, total, total).masked_fill_(~mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        logits = engine.loaded.model(
            input_ids=torch.tensor([list(ask.ids)]), attention_mask=hidden, use_cache=False
        ).logits
    assert torch.allclose(seen[0], logits[0, -1], atol=2e-5)
    whole = engine.loaded.model(input_ids=torch.tensor([list(ask.ids)]), use_cache=False).logits
    assert not torch.allclose(seen[0], whole[0, -1], atol=1e-2)


def test_shared_and_unshared_answers_are_equal_under_a_method():
    shared = dict(open_tiny("llama", method=SinkWindow(60)).answer(questions()))
    alone = dict(open_tiny("llama", method=SinkWindow(60), share=False).answer(questions()))
    assert shared == alone


def test_unknown_methods_and_a_budget_without_a_method_are_refused():
    assert build_method(MethodRef()) is None
    with pytest.raises(MethodError, match="Available: none"):
        build_method(MethodRef(name="snap", budget=0.5))
    with pytest.raises(MethodError, match=r"budget=0\.5"):
        build_method(MethodRef(name="none", budget=0.5))
