"""The model class as lm-eval uses it: truncation, stops, templates, and no surprises."""

from dataclasses import replace

import pytest
from lm_eval.api.instance import Instance
from tiny import load_tiny, open_tiny, random_ids

from longboard_tasks.engine.errors import EvaluationError, TruncationRefused
from longboard_tasks.engine.lm import LongContextLM
from longboard_tasks.engine.samples import TokenText


def generate(lm, *prompts, tokens=5, until=()):
    settings = {"until": list(until), "max_gen_toks": tokens, "do_sample": False}
    return lm.generate_until(
        [Instance("generate_until", {}, (p, dict(settings)), 0, ("t", i, 1)) for i, p in enumerate(prompts)]
    )


def prompt(*ids):
    return TokenText("irrelevant", ids)


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers():
    lm = LongContextLM(open_tiny("llama"), max_length=50)
    with pytest.raises(TruncationRefused, match=r"60 tokens.*50 positions"):
        generate(lm, prompt(*random_ids(60)))
    assert lm.truncated == []


@pytest.mark.parametrize(
    ("side", "kept"),
    [("left", (*range(65, 110),)), ("right", (*range(45),)), ("middle", (*range(22), *range(87, 110)))],
)
def test_truncation_keeps_what_it_says_and_flags_every_sample(side, kept):
    lm = LongContextLM(open_tiny("llama"), max_length=50, truncation=side)
    short = tuple(random_ids(20))
    cut, untouched = generate(lm, prompt(*range(110)), prompt(*short))
    assert [(t.request, t.doc_id, t.tokens, t.kept) for t in lm.truncated] == [(0, 0, 110, 45)]
    assert [cut, untouched] == generate(LongContextLM(open_tiny("llama")), prompt(*kept), prompt(*short))


def test_truncation_never_cuts_what_is_scored():
    context, continuation = random_ids(100), random_ids(10, seed=1)
    for side in ("left", "right", "middle"):
        lm = LongContextLM(open_tiny("llama"), max_length=40, truncation=side)
        ((logprob, _),) = lm._loglikelihood_tokens([(None, context, continuation)])
        ids = lm._cut([*context, *continuation][:-1], 0, 0, None, keep=10)
        assert ids[-9:] == continuation[:-1]
        assert len(ids) == 40
        assert logprob < 0


def test_a_state_space_model_has_no_limit_unless_told():
    assert LongContextLM(open_tiny("mamba2")).max_length is None
    assert LongContextLM(open_tiny("llama")).max_length == 32_768


def test_learned_positions_make_room_for_the_answer():
    lm = LongContextLM(open_tiny("gpt2"))
    with pytest.raises(TruncationRefused, match="1024 positions"):
        generate(lm, prompt(*random_ids(1_020)))
    assert len(generate(lm, prompt(*random_ids(1_019)))) == 1


def test_decoding_ends_at_a_stop_string_and_the_string_is_not_part_of_the_answer():
    engine = open_tiny("llama")
    (full,) = generate(LongContextLM(engine), prompt(*random_ids(50)), tokens=20)
    stop = full[6:8]
    before = engine.counters.tokens
    (answer,) = generate(LongContextLM(engine), prompt(*random_ids(50)), tokens=20, until=[stop])
    assert answer == full.split(stop)[0]
    assert engine.counters.tokens - before < 50 + 12


def test_sampling_is_refused_because_the_engine_decodes_greedily():
    lm = LongContextLM(open_tiny("llama"))
    with pytest.raises(EvaluationError, match="greedily"):
        lm.generate_until(
            [Instance("generate_until", {}, ("a", {"do_sample": True, "temperature": 1.0}), 0, ("t", 0, 1))]
        )


def test_the_tokenizers_chat_template_is_applied_as_transformers_does():
    engine = open_tiny("llama")
    tokenizer = engine.loaded.tokenizer
    turn, header = "<{{ m.role }}>{{ m.content }}", "{% if add_generation_prompt %}<assistant>{% endif %}"
    tokenizer.chat_template = "{% for m in messages %}" + turn + "{% endfor %}" + header
    try:
        lm = LongContextLM(engine)
        assert lm.apply_chat_template([{"role": "user", "content": "hi"}]) == "<user>hi<assistant>"
        assert lm.chat_template(True) == tokenizer.chat_template
    finally:
        tokenizer.chat_template = None


def test_progress_counts_every_request_once():
    seen = []
    lm = LongContextLM(open_tiny("mamba2"), on_answer=lambda *numbers: seen.append(numbers))
    generate(lm, *[prompt(*random_ids(40, seed=i)) for i in range(5)])
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in seen} == {5}
    assert seen[-1][2] >= 200


def test_a_text_prompt_is_tokenised_as_the_tokenizer_does_by_itself():
    lm = LongContextLM(open_tiny("llama"))
    assert lm.tok_encode("whale") == list(b"whale")
    assert LongContextLM(open_tiny("llama"), add_bos_token=False).tok_encode("<bos>w") == [256, ord("w")]
    assert generate(lm, "white whale") == generate(lm, prompt(*b"white whale"))


def test_one_engine_serves_many_lms():
    engine = open_tiny("llama", schedule=replace(open_tiny("llama").schedule, rows=1))
    assert generate(LongContextLM(engine), "a") == generate(LongContextLM(engine), "a")
    assert load_tiny("llama") is engine.loaded
