"""Methods through the engine: what decoding sees, bytes against the formula, budgets while a long answer is made."""

from dataclasses import replace

import pytest
import torch
from tiny import open_tiny, random_ids

from longboard_tasks.catalogue.methods import METHODS
from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.engine import Counters
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.methods import build_method
from longboard_tasks.engine.stream import count_bytes
from longboard_tasks.engine.trie import Ask
from longboard_tasks.suites.kv.budgets import lazy_counts, pyramid_counts
from longboard_tasks.suites.kv.dropping import Dropping
from longboard_tasks.suites.kv.quantised import quantised_bytes
from longboard_tasks.suites.kv.registry import settings_of

ALL = [name for name in METHODS if name != "none"]
DROPPING = [name for name in ALL if METHODS[name].family not in ("quantised", "prompt compression")]
LAYERS, HEADS, SIZE, FLOAT = 2, 2, 16, 4  # of the tiny Llama
TOKEN = 2 * HEADS * SIZE * FLOAT  # one layer


@pytest.fixture
def engine():
    """A tiny Llama with a method attached, and detached at the end."""
    attached = []

    def build(name, budget, **settings):
        base = open_tiny("llama")
        method = build_method(MethodRef(name=name, budget=budget, settings=settings))
        if method is not None:
            method.attach(base.loaded.model)
            attached.append(method)
        return replace(base, method=method, counters=Counters())

    yield build
    for method in attached:
        method.detach()


def budget_of(name):
    return METHODS[name].budgets[0] if METHODS[name].budgets else 0.25


def questions(context=600, count=3, new_tokens=5):
    haystack = random_ids(context)
    return [
        Ask(ids=haystack + random_ids(12 + i, seed=i), new_tokens=new_tokens, context=context) for i in range(count)
    ]


def answers(engine, asks):
    return {index: answer.tokens for index, answer in engine.answer(asks)}


@pytest.mark.parametrize("name", ALL)
def test_at_budget_one_every_bit_is_that_of_no_method(engine, name):
    seen, plain = [], []
    for logits, built in ((plain, engine("none", 1.0)), (seen, engine(name, 1.0))):
        built.on_logits = lambda index, row, logits=logits: logits.append((index, row.clone()))
        answers(built, questions(count=2))
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(seen, plain, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_shared_alone_batched_and_again_give_the_same_answers(engine, name):
    asks = questions() + [
        Ask(ids=random_ids(500, seed=9) + random_ids(12, seed=i), new_tokens=4, context=500) for i in (5, 6)
    ]
    built = engine(name, budget_of(name))
    shared = answers(built, asks)
    built.share = False
    assert answers(built, asks) == shared
    built.share = True
    assert answers(built, asks) == shared
    built.schedule = replace(built.schedule, rows=1)
    assert answers(built, asks) == shared


@pytest.mark.parametrize("name", DROPPING)
def test_what_was_dropped_is_what_a_mask_would_hide(engine, name):
    # The question attends to the kept positions alone, at their places in the text: one plain pass with a mask for each head.
    (ask,) = questions(count=1, new_tokens=1)
    built = engine(name, 0.25)
    kept = []
    select = built.method.select
    built.method.select = lambda views: kept.append(select(views)) or kept[0]
    seen = []
    built.on_logits = lambda index, row: seen.append(row.clone())
    list(built.answer([ask]))
    model, total = built.loaded.model, len(ask.ids)
    masks = []
    for slots in kept[0]:
        mask = torch.ones(1, 4, total, total, dtype=torch.bool).tril()
        mask[:, :, 600:, :600] = False
        for head in range(4):
            mask[0, head, 600:, slots[0, head // 2]] = True
        masks.append(torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min))
    hooks = [
        layer.self_attn.register_forward_pre_hook(
            lambda m, a, kw, mask=mask: (a, {**kw, "attention_mask": mask}), with_kwargs=True
        )
        for layer, mask in zip(model.model.layers, masks, strict=True)
    ]
    logits = model(input_ids=torch.tensor([list(ask.ids)]), use_cache=False).logits
    for hook in hooks:
        hook.remove()
    assert torch.allclose(seen[0], logits[0, -1], atol=1e-4)


def expected_bytes(name, budget, tokens):
    """Of all layers: kept keys and values, and four bytes for each mark of a slot."""
    if METHODS[name].family == "quantised":
        bits = {"int8": 8, "int4": 4, "int2": 2}[name]
        return LAYERS * quantised_bytes(tokens, heads=HEADS, size=SIZE, element=FLOAT, bits=bits)
    counts = [int(tokens * budget)] * LAYERS
    if name == "pyramidkv":
        counts = pyramid_counts(tokens, budget, LAYERS, window_size=64, beta=20)
    if name == "lazy_layers":
        whole, rest = lazy_counts(tokens, budget, LAYERS)
        counts = [tokens] * whole + [rest] * (LAYERS - whole)
    marks = {"random": 1, "streaming_llm": 1, "h2o": 2, "observed_attention": 1}.get(name, 0)
    return sum(count * (TOKEN + 4 * HEADS * marks) for count in counts)


@pytest.mark.parametrize("name", ALL)
def test_measured_bytes_are_within_three_percent_of_the_formula(engine, name):
    built = engine(name, budget_of(name))
    tokens = 4_096
    list(built.answer([Ask(ids=random_ids(tokens + 1), new_tokens=1, context=tokens)]))
    expected = expected_bytes(name, budget_of(name), tokens)
    assert built.counters.stages["compressed"] == pytest.approx(expected, rel=0.03)
    if METHODS[name].family != "quantised":  # whose budget is of 16 bits, and this model has 32
        assert expected <= tokens * LAYERS * TOKEN * budget_of(name) * 1.13
    assert built.counters.stages["context"] >= tokens * LAYERS * TOKEN


@pytest.mark.parametrize("name", [name for name in DROPPING if METHODS[name].phase == "both"])
def test_the_budget_holds_while_an_answer_is_made(engine, name):
    built, budget = engine(name, 0.25), 0.25
    reader, method = built.reader, built.method
    stream = reader.open(300)
    method.prepare(stream)
    reader.read_last(stream, torch.tensor([random_ids(300)]))
    method.after_context(stream)
    for step in range(200):
        reader.read(stream, torch.tensor([[step % 256]]), 1)
        method.after_step(stream)
        for layer in stream.cache.layers:
            assert layer.length == int(stream.position * budget)
            assert layer.keys.shape[2] == layer.length
    if name == "h2o":
        recent = set(range(500 - layer.length // 2, 500))
        assert recent <= set(layer.marks["positions"][0, 0].tolist())


@pytest.mark.parametrize("name", ["streaming_llm", "random", "knorm"])
def test_the_budget_holds_over_4096_decoded_tokens_in_slots_and_in_what_the_allocator_holds(engine, name):
    # The cache alone, fed as a model feeds it: these methods look at nothing else.
    built = engine(name, 0.25)
    stream = built.reader.open(300)
    built.method.prepare(stream)
    keys = torch.randn(1, HEADS, 300 + 4_096, SIZE, generator=torch.Generator().manual_seed(0))
    layer = stream.cache.layers[0]
    stream.cache.layers = [layer]
    layer.update(keys[:, :, :300], keys[:, :, :300])
    built.method.after_context(stream)
    for at in range(300, 300 + 4_096):
        layer.update(keys[:, :, at : at + 1], keys[:, :, at : at + 1])
        built.method.after_step(stream)
        assert layer.length == (at + 1) // 4
    assert all(buffer.shape[2] <= layer.length + 300 for buffer in layer.buffers)
    if name == "streaming_llm":
        held = sorted(layer.marks["positions"][0, 0].tolist())
        assert held == [*range(4), *range(4_396 - (layer.length - 4), 4_396)]
        assert torch.equal(layer.keys[0, 0].sort(0).values, keys[0, 0, held].sort(0).values)
    if name == "knorm":
        norms = keys[0, 0].norm(dim=-1).tolist()
        held = set(sorted(range(300), key=norms.__getitem__)[:75])
        for at in range(300, 300 + 4_096):
            while len(held) + 1 > (at + 1) // 4:
                held.remove(max(held, key=norms.__getitem__))
            held.add(at)
        assert sorted(norms[at] for at in held) == sorted(layer.keys[0, 0].norm(dim=-1).tolist())


def test_evicting_while_decoding_is_attention_over_what_is_held(engine):
    # StreamingLLM token by token against one plain pass with a mask: sinks and a window that grows by a quarter a token.
    built = engine("streaming_llm", 0.25)
    ids = torch.tensor([random_ids(260)])
    stream = built.reader.open(200)
    built.method.prepare(stream)
    built.reader.read_last(stream, ids[:, :200])
    built.method.after_context(stream)
    rows = []
    for at in range(200, 260):
        rows.append(built.reader.read(stream, ids[:, at : at + 1], 1)[0, -1])
        built.method.after_step(stream)
    mask = torch.ones(260, 260, dtype=torch.bool).tril()
    for at in range(200, 260):
        held = int(at * 0.25)  # after the step before; the token itself is seen too
        mask[at, 4 : at - (held - 4)] = False
    hidden = torch.zeros(1, 1, 260, 260).masked_fill_(~mask, torch.finfo(torch.float32).min)
    logits = built.loaded.model(input_ids=ids, attention_mask=hidden, use_cache=False).logits[0, 200:]
    assert torch.allclose(torch.stack(rows), logits, atol=2e-4)


def test_heavy_hitters_in_decoding_are_those_of_a_plain_count(engine):
    # H2O, one head: attention over what is held is summed by position; the least of the old ones goes.
    built = engine("h2o", 0.5)
    stream = built.reader.open(64)
    built.method.prepare(stream)
    built.reader.read_last(stream, torch.tensor([random_ids(64)]))
    built.method.after_context(stream)
    layer = stream.cache.layers[1]
    held = {int(p): float(s) for p, s in zip(layer.marks["positions"][0, 1], layer.marks["scores"][0, 1], strict=True)}
    for step in range(30):
        weights = {}
        hook = built.loaded.model.model.layers[1].self_attn.register_forward_hook(
            lambda m, a, kw, o, weights=weights: weights.update(q=kw["hidden_states"], turn=kw["position_embeddings"]),
            with_kwargs=True,
        )
        built.reader.read(stream, torch.tensor([[step]]), 1)
        hook.remove()
        module = built.loaded.model.model.layers[1].self_attn
        q = module.q_proj(weights["q"]).view(4, 16)[2:]  # the two heads of group 1
        cos, sin = (t[0] for t in weights["turn"])
        q = q * cos + torch.cat([-q[:, 8:], q[:, :8]], -1) * sin
        places = layer.marks["positions"][0, 1].tolist()
        for place, weight in zip(places, (q @ layer.keys[0, 1].T / 4).softmax(-1).mean(0).tolist(), strict=True):
            held[place] = held.get(place, 0.0) + weight
        built.method.after_step(stream)
        cap = int(stream.position * 0.5)
        while len(held) > cap:
            old = [p for p in held if p < stream.position - cap // 2]
            held.pop(min(old, key=held.get))
        assert sorted(held) == sorted(layer.marks["positions"][0, 1].tolist())


def test_question_aware_compression_sees_the_question(engine):
    (ask,) = questions(count=1)
    aware = engine("snapkv", 0.25, question_aware=True)
    answers(aware, [ask])
    agnostic = engine("snapkv", 0.25)
    answers(agnostic, [ask])
    whole = (len(ask.ids) - 1) * LAYERS * TOKEN
    assert aware.counters.stages["context"] == whole
    assert agnostic.counters.stages["context"] == 600 * LAYERS * TOKEN


def test_prompt_compression_is_a_shorter_prompt(engine):
    (ask,) = questions(count=1)
    built = engine("prompt_compression", 0.25)
    kept = []
    choose = built.method._choose
    built.method._choose = lambda: kept.append(choose()) or kept[0]
    compressed = answers(built, [ask])
    short = [ask.ids[place] for place in kept[0][0].tolist()]
    plain = engine("none", 1.0)
    again = answers(plain, [Ask(ids=short + list(ask.ids[600:]), new_tokens=5)])
    assert compressed == again
    assert len(short) == 150


def test_models_without_keys_are_refused_in_words():
    for name in ("snapkv", "int4", "prompt_compression"):
        method = build_method(MethodRef(name=name, budget=0.25))
        method.attach(open_tiny("mamba2").loaded.model)
        with pytest.raises(MethodError, match=r"full attention|state of fixed size"):
            method.prepare(open_tiny("mamba2").reader.open(10))
        method.detach()


def test_a_method_that_cannot_see_the_queries_says_so_and_one_that_needs_none_runs(engine):
    base = open_tiny("gpt2")
    for name in ("snapkv", "h2o", "knorm"):
        method = build_method(MethodRef(name=name, budget=0.25))
        method.attach(base.loaded.model)
        stream = base.reader.open(100)
        method.prepare(stream)
        base.reader.read_last(stream, torch.tensor([random_ids(100)]))
        if name == "knorm":
            method.after_context(stream)
            assert stream.cache.layers[0].length == 25
        else:
            with pytest.raises(MethodError, match="looks at queries"):
                method.after_context(stream)
        method.detach()


@pytest.mark.parametrize("name", ["lfm2", "granite-hybrid"])
def test_of_a_hybrid_only_the_attention_layers_are_compressed(name):
    base = open_tiny(name)
    method = build_method(MethodRef(name="knorm", budget=0.25))
    assert isinstance(method, Dropping)
    method.attach(base.loaded.model)
    reader = base.reader
    stream = reader.open(200)
    method.prepare(stream)
    reader.read_last(stream, torch.tensor([random_ids(200)]))
    before = count_bytes(stream)
    method.after_context(stream)
    after = count_bytes(stream)
    method.detach()
    assert after["state"] == before["state"]
    assert after["kv"] == before["kv"] // 4


@pytest.mark.parametrize("name", ALL)
def test_the_catalogue_states_the_settings_and_defaults_of_every_method(name):
    stated = dict(METHODS[name].parameters)
    taken = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in settings_of(name).items()
    }
    assert {key: value.removesuffix(".0") for key, value in taken.items()} == stated
