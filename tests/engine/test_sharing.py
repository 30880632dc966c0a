"""Sharing a prefix changes the time and nothing else."""

from dataclasses import replace

import pytest
import torch
from tiny import ALL, OFF, load_tiny, open_tiny, random_ids

from longboard_tasks.engine.trie import Ask, build_trie, count_tokens


def grid(length: int = 500) -> list[Ask]:
    """Needles at three depths of one haystack, two of them twice; choices on one of the prompts; one prompt of its own."""
    haystack, asks = random_ids(length), []
    for depth in (0.1, 0.5, 0.9):
        for needle in range(2):
            at = int(depth * length)
            ids = haystack[:at] + random_ids(9, seed=100 + needle) + haystack[at:] + random_ids(12, seed=7)
            asks.append(Ask(ids=ids, new_tokens=6))
    context = asks[-1].ids
    for choice in range(3):
        targets = random_ids(5, seed=choice)
        asks.append(Ask(ids=[*context, *targets][:-1], targets=targets))
    asks.append(Ask(ids=[*context, *random_ids(2, seed=9)], targets=random_ids(3, seed=9)))
    return [
        *asks,
        Ask(ids=random_ids(300, seed=77), new_tokens=4),
        Ask(ids=random_ids(40, seed=5), targets=random_ids(40, seed=5)),
    ]


def run(engine, asks):
    """Answers by index, and every logit at an answer position."""
    seen: dict[int, list[torch.Tensor]] = {}
    engine.on_logits = lambda index, logits: seen.setdefault(index, []).append(logits.clone())
    answers = dict(engine.answer(asks))
    return [answers[i] for i in range(len(asks))], seen


@pytest.mark.parametrize("name", ALL)
def test_shared_and_unshared_runs_give_equal_bits_at_every_answer_position(name):
    asks = grid()
    shared, shared_logits = run(open_tiny(name, share=name not in OFF), asks)
    alone, alone_logits = run(open_tiny(name, share=False), asks)
    assert shared == alone
    assert shared_logits.keys() == alone_logits.keys() == set(range(len(asks)))
    for index, logits in shared_logits.items():
        assert all(torch.equal(a, b) for a, b in zip(logits, alone_logits[index], strict=True)), index


@pytest.mark.parametrize("name", ["llama", "mamba2", "zamba2", "mamba", "recurrent-gemma", "rwkv"])
def test_answers_equal_those_of_the_model_reading_each_prompt_in_one_pass(name):
    asks = grid()
    answers, _ = run(open_tiny(name), asks)
    model = load_tiny(name).model
    for ask, answer in zip(asks, answers, strict=True):
        ids = torch.tensor([list(ask.ids)])
        if ask.targets:
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0, -len(ask.targets) :].double()
            expected = logits.log_softmax(-1).gather(-1, torch.tensor(ask.targets)[:, None]).sum()
            assert answer.logprob == pytest.approx(float(expected), rel=1e-5)
        for token in answer.tokens:
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0, -1]
            assert logits[token] >= logits.max() - 1e-4
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_a_haystack_with_many_questions_is_read_once():
    engine = open_tiny("llama")
    haystack = random_ids(1_000)
    asks = [Ask(ids=haystack + random_ids(20, seed=i), new_tokens=1) for i in range(20)]
    list(engine.answer(asks))
    assert engine.counters.tokens < 1_000 + 20 * (20 + engine.schedule.grain)
    assert engine.counters.tokens_alone == 20 * 1_020


def test_the_classic_grid_shares_at_most_half():
    asks = []
    haystack = random_ids(2_000)
    for depth in range(10):
        for needle in range(3):
            at = depth * 200
            asks.append(Ask(ids=haystack[:at] + random_ids(8, seed=needle) + haystack[at:], new_tokens=1))
    shared, alone = count_tokens(build_trie(asks, open_tiny("llama").schedule), asks)
    assert 1.5 < alone / shared < 2.0


def test_a_row_that_ends_early_does_not_change_the_others():
    haystack = random_ids(300)
    asks = [Ask(ids=haystack + random_ids(10, seed=i), new_tokens=8) for i in range(4)]
    full, _ = run(open_tiny("mamba2"), asks)
    stopping = [replace(asks[0], is_done=lambda tokens: len(tokens) == 2), *asks[1:]]
    partly, _ = run(open_tiny("mamba2"), stopping)
    assert partly[0].tokens == full[0].tokens[:2]
    assert partly[1:] == full[1:]


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_equal_prompts_give_equal_answers_whatever_the_batch(rows):
    engine = open_tiny("llama")
    engine.schedule = replace(engine.schedule, rows=rows)
    asks = [Ask(ids=random_ids(200), new_tokens=5)] * 5 + [Ask(ids=random_ids(200)[:120], new_tokens=5)]
    answers, _ = run(engine, asks)
    assert all(answer == answers[0] for answer in answers[:5])


def test_logits_that_are_not_finite_are_an_error_that_says_where():
    from longboard_tasks.engine.errors import NonFiniteLogits

    engine = open_tiny("llama")
    head = engine.loaded.model.lm_head.weight
    kept = head[3].clone()
    head[3] = float("nan")
    try:
        with pytest.raises(NonFiniteLogits, match="50 tokens"):
            list(engine.answer([Ask(ids=random_ids(50), new_tokens=2)]))
    finally:
        head[3] = kept


def test_tails_of_a_pack_answer_as_they_do_alone_and_take_no_copy_of_the_trunk():
    haystack = random_ids(700)
    asks = [Ask(ids=haystack + random_ids(10 + 3 * i, seed=i), new_tokens=6) for i in range(7)]
    engine = open_tiny("llama")
    packed, _ = run(engine, asks)
    batched = open_tiny("llama", schedule=replace(engine.schedule, pack_tail=0))
    alone, _ = run(batched, asks)
    assert engine.schedule.pack_tail
    assert packed == alone
    one_row = 2 * 2 * 2 * 16 * 4  # bytes of a token in two layers
    assert engine.counters.stages["decoded"] < 2 * one_row * 700  # seven copies would be more than 7 * 700
