"""What each method keeps, against plain definitions: whole attention matrices of an eager model, loops, nothing of ours."""

import math

import pytest
import torch
import transformers

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.suites.kv import kept_positions
from longboard_tasks.suites.kv.budgets import pyramid_counts

SHAPE = {
    "vocab_size": 1_024, "hidden_size": 96, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
    "head_dim": 16, "max_position_embeddings": 4_096,
}  # fmt: skip


def make_model(kind="Llama", kv_heads=2, attention="eager"):
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**SHAPE, num_key_value_heads=kv_heads)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(4)  # attention that is far from flat
        else:
            parameter.data.mul_(torch.rand_like(parameter) + 0.5)
    return model.requires_grad_(False)


class Seen:
    """Everything of one pass, the plain way."""

    def __init__(self, model, ids):
        hidden = {}
        hooks = [
            layer.self_attn.register_forward_hook(
                lambda m, a, kw, o, i=i: hidden.__setitem__(i, kw["hidden_states"]), with_kwargs=True
            )
            for i, layer in enumerate(model.model.layers)
        ]
        out = model(ids, output_attentions=True, use_cache=True)
        for hook in hooks:
            hook.remove()
        self.model, self.tokens = model, ids.shape[1]
        self.weights = out.attentions  # [B, H, T, T] a layer
        self.keys = [layer.keys for layer in out.past_key_values.layers]
        self.values = [layer.values for layer in out.past_key_values.layers]
        self.hidden = [hidden[i] for i in range(len(hidden))]
        self.logits = out.logits
        self.group = model.config.num_attention_heads // model.config.num_key_value_heads

    def per_kv_head(self, by_head):
        """[B, H, T] -> [B, HKV, T]: the mean over each group, head by head."""
        heads = [
            by_head[:, g * self.group : (g + 1) * self.group].mean(1) for g in range(by_head.shape[1] // self.group)
        ]
        return torch.stack(heads, dim=1)


def top(score, count):
    return score.argsort(dim=-1, descending=True, stable=True)[..., :count].sort(-1).values


def plain_knorm(seen, layer, count):
    return top(-(seen.keys[layer] ** 2).sum(-1).sqrt(), count)


def plain_streaming(seen, layer, count):
    places = [*range(4), *range(seen.tokens - (count - 4), seen.tokens)]
    return torch.tensor(places).expand(*seen.keys[layer].shape[:2], -1)


def plain_observed(seen, layer, count):
    score = torch.zeros(seen.weights[layer].shape[:2] + (seen.tokens,))
    for key in range(seen.tokens):
        score[..., key] = seen.weights[layer][..., key:, key].mean(-1)
    return top(seen.per_kv_head(score), count)


def plain_h2o(seen, layer, count):
    recent = count // 2
    score = seen.per_kv_head(seen.weights[layer].sum(2))
    heavy = top(score[..., : seen.tokens - recent], count - recent)
    last = torch.arange(seen.tokens - recent, seen.tokens).expand(*heavy.shape[:2], -1)
    return torch.cat([heavy, last], -1)


def snapkv_score(seen, layer, window=64, kernel=5):
    score = seen.weights[layer][:, :, -window:, :-window].mean(2)
    pooled = torch.zeros_like(score)
    for at in range(score.shape[-1]):
        low, high = max(0, at - kernel // 2), min(score.shape[-1], at + kernel // 2 + 1)
        pooled[..., at] = score[..., low:high].sum(-1) / kernel
    return seen.per_kv_head(pooled)


def plain_snapkv(seen, layer, count, **settings):
    window = settings.get("window", 64)
    earlier = top(snapkv_score(seen, layer, **settings), count - window)
    last = torch.arange(seen.tokens - window, seen.tokens).expand(*earlier.shape[:2], -1)
    return torch.cat([earlier, last], -1)


def plain_tova(seen, layer, count):
    score = seen.weights[layer][:, :, -1].mean(1)
    score[:, -1] = 2
    return top(score, count)[:, None].expand(-1, seen.keys[layer].shape[1], -1)


def plain_expected(seen, layer, count):
    model, size = seen.model, seen.keys[layer].shape[-1]
    module = model.model.layers[layer].self_attn
    hidden = seen.hidden[layer][:, 4:].double()
    queries = hidden @ module.q_proj.weight.double().T
    queries = queries.view(*hidden.shape[:2], -1, size)
    if hasattr(module, "q_norm"):
        queries = module.q_norm(queries.float()).double()
    base = model.config.rope_parameters["rope_theta"]
    turn = torch.zeros(size, size, dtype=torch.double)
    for place in range(seen.tokens, seen.tokens + 512):
        for channel in range(size // 2):
            angle = place / base ** (2 * channel / size)
            a, b = channel, channel + size // 2
            turn[a, a] += math.cos(angle) / 512
            turn[b, b] += math.cos(angle) / 512
            turn[a, b] -= math.sin(angle) / 512
            turn[b, a] += math.sin(angle) / 512
    keys, values = seen.keys[layer][:, :, 4:].double(), seen.values[layer][:, :, 4:].double()
    score = torch.zeros(len(keys), queries.shape[2], keys.shape[2], dtype=torch.double)
    for row in range(len(keys)):
        for head in range(queries.shape[2]):
            q = queries[row, :, head]
            mean, covariance = turn @ q.mean(0), turn @ torch.cov(q.T, correction=0) @ turn.T
            k = keys[row, head // seen.group]
            logits = k @ mean / size**0.5 + torch.einsum("ti,ij,tj->t", k, covariance, k) / (2 * size)
            score[row, head] = logits.softmax(-1)
    score = seen.per_kv_head(score) * values.norm(dim=-1)
    sinks = torch.full((*score.shape[:2], 4), 2 * float(score.max()), dtype=torch.double)
    return top(torch.cat([sinks, score], -1), count)


PLAIN = {
    "knorm": plain_knorm, "streaming_llm": plain_streaming, "observed_attention": plain_observed, "h2o": plain_h2o,
    "snapkv": plain_snapkv, "tova": plain_tova, "expected_attention": plain_expected,
}  # fmt: skip


def prompt(rows, tokens):
    """No token twice: in the first layer equal tokens have keys of equal norm."""
    draw = torch.Generator().manual_seed(tokens)
    return torch.stack([torch.randperm(1_024, generator=draw)[:tokens] for _ in range(rows)])


@pytest.mark.parametrize("method", PLAIN)
@pytest.mark.parametrize(("tokens", "budget", "kv_heads"), [(280, 0.5, 2), (331, 0.25, 6)])
def test_the_kept_positions_are_those_of_the_definition(method, tokens, budget, kv_heads):
    model, ids = make_model(kv_heads=kv_heads), prompt(2, tokens)
    seen = Seen(model, ids)
    kept = kept_positions(method, budget, model, ids)
    assert len(kept) == 3
    for layer, positions in enumerate(kept):
        assert positions.shape == (2, kv_heads, int(tokens * budget))
        assert positions.dtype == torch.int64
        assert torch.equal(positions, PLAIN[method](seen, layer, int(tokens * budget))), layer


@pytest.mark.parametrize("method", PLAIN)
def test_chunks_sdpa_and_query_norms_change_nothing(method):
    model, ids = make_model("Qwen3"), prompt(1, 300)
    expected = [PLAIN[method](Seen(model, ids), layer, 150) for layer in range(3)]
    fused = make_model("Qwen3", attention="sdpa")
    before = fused.config._attn_implementation
    for kept, plain in zip(kept_positions(method, 0.5, fused, ids, chunk=64), expected, strict=True):
        assert torch.equal(kept, plain)
    assert fused.config._attn_implementation == before


def test_snapkv_takes_its_window_and_kernel():
    model, ids = make_model(), prompt(1, 200)
    seen = Seen(model, ids)
    kept = kept_positions("snapkv", 0.25, model, ids, window_size=16, kernel_size=7)
    for layer, positions in enumerate(kept):
        assert torch.equal(positions, plain_snapkv(seen, layer, 50, window=16, kernel=7))


def test_pyramidkv_keeps_snapkvs_best_in_falling_amounts():
    model, ids = make_model(), prompt(2, 400)
    seen = Seen(model, ids)
    kept = kept_positions("pyramidkv", 0.5, model, ids, window_size=8, beta=4)
    # mean 200, last 200 / 4 = 50, first 350: a line through them.
    assert [k.shape[-1] for k in kept] == [350, 200, 50]
    for layer, positions in enumerate(kept):
        assert torch.equal(positions, plain_snapkv(seen, layer, positions.shape[-1], window=8))


@pytest.mark.parametrize("budget", [0.5, 0.25, 0.125, 0.0625])
@pytest.mark.parametrize("layers", [2, 6, 32])
def test_pyramid_amounts_keep_the_budget_and_the_bounds(budget, layers):
    counts = pyramid_counts(32_768, budget, layers, window_size=64, beta=20)
    assert abs(sum(counts) - 32_768 * budget * layers) <= layers
    assert counts == sorted(counts, reverse=True)
    assert max(counts) <= 32_768 - 64
    assert pyramid_counts(1_000, 0.0625, layers, window_size=64, beta=20) == [62] * layers


def test_lazy_layers_lets_the_laziest_go_and_keeps_the_busiest_whole():
    model, ids = make_model(), prompt(1, 320)
    seen = Seen(model, ids)
    laziness = [float(w[:, :, -64:].mean((0, 1, 2))[[*range(4), *range(320 - 80, 320)]].sum()) for w in seen.weights]
    kept = kept_positions("lazy_layers", 0.5, model, ids)
    busiest = laziness.index(min(laziness))
    for layer, positions in enumerate(kept):
        # One of three layers whole, 480 places in all: 80 for each of the others.
        places = [*range(320)] if layer == busiest else [*range(4), *range(320 - 76, 320)]
        assert positions[0, 0].tolist() == places


def test_prompt_compression_keeps_what_the_model_could_not_guess():
    model, ids = make_model(), prompt(2, 200)
    logprob = model(ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    information = torch.cat([torch.full((2, 1), 1e9), -logprob], 1)
    for positions in kept_positions("prompt_compression", 0.25, model, ids, chunk=64):
        assert torch.equal(positions, top(information, 50)[:, None].expand(-1, 2, -1))


def test_random_draws_evenly_and_as_seeded():
    model, ids = make_model(), prompt(1, 200)
    draws = torch.stack([torch.stack(kept_positions("random", 0.25, model, ids, seed=s)) for s in range(60)])
    again = torch.stack(kept_positions("random", 0.25, model, ids, seed=7))
    assert torch.equal(draws[7], again)
    assert not torch.equal(draws[7], draws[8])
    assert not torch.equal(again[0], again[1])
    assert not torch.equal(again[0, :, 0], again[0, :, 1])
    counts = torch.bincount(
        draws.flatten(), minlength=200
    ).float()  # 60 seeds * 3 layers * 2 heads, each keeps a quarter
    assert abs(float(counts.mean()) - 90) < 1e-3
    # Each place is a binomial of 360 draws at 1/4: chi-square over 200 places, 199 degrees, 99.9 % below 267 (times 3/4).
    assert float(((counts - 90) ** 2 / 90).sum()) < 267 * 0.75


@pytest.mark.parametrize("method", ["snapkv", "tova", "h2o", "expected_attention", "lazy_layers", "prompt_compression"])
def test_budget_one_keeps_everything_and_tiny_prompts_something(method):
    model = make_model()
    for positions in kept_positions(method, 1.0, model, prompt(1, 30)):
        assert positions[0, 0].tolist() == list(range(30))
    for tokens in (1, 3, 40):
        for positions in kept_positions(method, 0.0625, model, prompt(1, tokens)):
            assert positions.shape[-1] == max(1, int(tokens * 0.0625))


def test_what_cannot_be_is_refused():
    model, ids = make_model(), prompt(1, 40)
    with pytest.raises(MethodError, match='no setting "window"'):
        kept_positions("snapkv", 0.5, model, ids, window=3)
    with pytest.raises(MethodError, match="drops no tokens"):
        kept_positions("int4", 0.25, model, ids)
    with pytest.raises(MethodError, match=r"budget=0\.5 .* int4 has 0\.25"):
        kept_positions("int4", 0.5, model, ids)
    with pytest.raises(MethodError, match="is no int"):
        kept_positions("snapkv", 0.5, model, ids, window_size=3.5)
    with pytest.raises(MethodError, match="odd number"):
        kept_positions("snapkv", 0.5, model, ids, kernel_size=4)
