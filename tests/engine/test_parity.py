"""The same answers as lm-eval's own HFLM, which reads every prompt by itself and has been used by everybody for years."""

import logging

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tiny import load_tiny, open_tiny, random_ids

from longboard_tasks.engine.lm import LongContextLM

NAMES = ["llama", "mistral", "mamba2", "mamba", "zamba2", "falcon-h1", "granite-hybrid", "qwen3-next", "lfm2"]
WORDS = "the white whale swam past a boat and an old captain with one ivory leg looked at it for hours"


def text(words: int, seed: int = 0) -> str:
    generator, known = torch.Generator().manual_seed(seed), WORDS.split()
    return " ".join(known[i] for i in torch.randint(0, len(known), (words,), generator=generator).tolist())


def oracle(name: str, max_length: int = 4_096) -> HFLM:
    loaded = load_tiny(name)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=1,
        max_length=max_length,
        softmax_dtype=torch.float32,
    )


def instances(kind: str, arguments) -> list[Instance]:
    return [Instance(kind, {}, args, i, (kind, i, 1)) for i, args in enumerate(arguments)]


@pytest.mark.parametrize("name", NAMES)
def test_generated_strings_are_identical(name):
    haystack = text(90)
    requests = [
        (haystack + text(5, seed=i), {"until": ["e", "\n\n"] if i % 2 else [], "max_gen_toks": 12, "do_sample": False})
        for i in range(6)
    ]
    ours = LongContextLM(open_tiny(name), max_length=4_096).generate_until(instances("generate_until", requests))
    theirs = oracle(name).generate_until(instances("generate_until", requests), disable_tqdm=True)
    assert ours == theirs
    assert any(ours)


@pytest.mark.parametrize("name", NAMES)
def test_log_likelihoods_agree_to_five_digits_and_greedy_flags_are_equal(name):
    haystack = text(90)
    requests = [(haystack + text(3, seed=i // 4), f" {text(3, seed=100 + i)}") for i in range(8)]
    requests += [("", "from nothing"), (haystack, "x"), (haystack, "y"), ("trailing space ", "kept")]
    # A continuation that greedy decoding would give, so that not every flag is False.
    model, tokenizer = load_tiny(name).model, load_tiny(name).tokenizer
    ids = torch.tensor([tokenizer.encode(haystack)])
    best = int(model(input_ids=ids, use_cache=False).logits[0, -1, :128].argmax())
    requests.append((haystack, tokenizer.decode([best])))
    ours = LongContextLM(open_tiny(name), max_length=4_096).loglikelihood(instances("loglikelihood", requests))
    theirs = oracle(name).loglikelihood(instances("loglikelihood", requests), disable_tqdm=True)
    for (our_sum, our_flag), (their_sum, their_flag) in zip(ours, theirs, strict=True):
        assert our_sum == pytest.approx(their_sum, rel=1e-5)
        assert our_flag == their_flag


@pytest.mark.parametrize("name", ["llama", "mamba2", "zamba2", "mamba"])
@pytest.mark.parametrize("max_length", [4_096, 128])
def test_rolling_log_likelihoods_agree_in_one_window_and_in_many(name, max_length):
    requests = [(text(60, seed=i),) for i in range(2)]
    ours = LongContextLM(open_tiny(name), max_length=max_length).loglikelihood_rolling(
        instances("loglikelihood_rolling", requests)
    )
    theirs = oracle(name, max_length).loglikelihood_rolling(
        instances("loglikelihood_rolling", requests), disable_tqdm=True
    )
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("name", ["llama", "mamba2", "zamba2", "jamba"])
def test_accuracies_are_equal_and_perplexities_agree_to_five_digits(name):
    """One multiple-choice, one generation and one perplexity task, defined in YAML terms, through simple_evaluate."""
    import datasets

    docs = [
        {"text": text(80, seed=7) + text(4, seed=i), "choices": [text(2, seed=i + k) for k in range(4)]}
        for i in range(5)
    ]

    def dataset(**_):
        return {"test": datasets.Dataset.from_list(docs)}

    common = {"custom_dataset": dataset, "test_split": "test", "num_fewshot": 0}
    tasks = [
        {
            **common, "task": "choices", "output_type": "multiple_choice", "doc_to_text": "{{text}}", "doc_to_target": 0,
            "doc_to_choice": "{{choices}}", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        {
            **common, "task": "rolling", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
        {
            **common, "task": "strings", "output_type": "generate_until", "doc_to_text": "{{text}}", "doc_to_target": "a",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6}, "metric_list": [{"metric": "exact_match"}],
        },
    ]  # fmt: skip
    manager = TaskManager(include_defaults=False)
    results = []
    for model in (LongContextLM(open_tiny(name), max_length=4_096), oracle(name)):
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[dict(task) for task in tasks],
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=False,
        )
        numbers = {
            (task, key): value
            for task, row in found["results"].items()
            for key, value in row.items()
            if isinstance(value, int | float)
        }
        results.append(numbers)
    assert results[0].keys() == results[1].keys()
    assert len(results[0]) >= 8
    for key, value in results[0].items():
        rounding = 1e-5 if key[0] == "rolling" else 0.0
        assert value == pytest.approx(results[1][key], rel=rounding, abs=0.0), key


def test_ten_thousand_tokens_in_bf16_are_summed_as_exactly_as_in_fp32():
    # lm-eval's default takes the softmax and the sum in bf16: 1.3e-3 off on a text of this length.
    from longboard_tasks.engine.engine import open_engine

    loaded = load_tiny("llama", torch.bfloat16)
    ids = random_ids(10_001)
    lm = LongContextLM(open_engine(loaded, chunk=512))
    ((ours, _),) = lm._loglikelihood_tokens([(None, ids[:1], ids[1:])])
    reader = lm.engine.reader.with_(chunk=512)
    logits = torch.cat(list(reader.read_span(reader.open(10_000), torch.tensor([ids[:-1]]), 10_000)), dim=1)[0]
    reference = float(logits.double().log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None]).sum())
    assert ours == pytest.approx(reference, rel=1e-7)
    # One pass without any cache rounds its bf16 activations otherwise; the sum still agrees.
    whole = loaded.model(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0].float()
    reference = float(whole.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None]).double().sum())
    assert ours == pytest.approx(reference, rel=1e-4)
