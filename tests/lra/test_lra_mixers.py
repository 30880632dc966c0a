"""What every mixer promises: its shape at any length, who sees whom, that ended places have no say, right gradients, its cost."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from longboard_tasks.suites.lra.mixers.base import BIDIRECTIONAL, CAUSAL, MixerConfig, MixerError
from longboard_tasks.suites.lra.mixers.performer import draw_rows
from longboard_tasks.suites.lra.mixers.registry import (
    HYBRIDS,
    MIXERS,
    NAMES,
    build_mixer,
    count_parameters,
    directions,
    fit,
)
from longboard_tasks.suites.lra.tasks import TASKS

SINGLE = ("mamba", "mamba2")  # their scans keep states in fp32
SMALL = {
    "window": 4,
    "features": 8,
    "rank": 6,
    "states": 4,
    "convolution": 4,
    "block": 4,
}
CASES = [(name, way) for name in MIXERS for way in MIXERS[name].directions]


def small(name: str, way: str, **changes):
    """A mixer of width 8 whose windows and blocks are shorter than the sequences here."""
    torch.manual_seed(0)
    options = {key: SMALL[key] for key in MIXERS[name].options}
    config = replace(MixerConfig(8, 2, 16, way == CAUSAL, 40, 0, options), **changes)
    dtype = torch.float32 if name in SINGLE else torch.float64
    mixer = build_mixer(name, config).to(dtype)
    return mixer, lambda *shape: torch.randn(*shape, dtype=dtype)


def tolerance(name: str) -> dict[str, float]:
    return {"rtol": 1e-4, "atol": 2e-5} if name in SINGLE else {"rtol": 1e-8, "atol": 1e-9}


@pytest.mark.parametrize(("name", "way"), CASES)
def test_one_set_of_weights_mixes_sequences_of_any_length(name, way):
    mixer, draw = small(name, way)
    for length in (1, 2, 5, 16, 33, 40):
        y = mixer(draw(3, length, 8))
        assert y.shape == (3, length, 8)
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", [name for name, way in CASES if way == CAUSAL])
def test_a_causal_mixer_never_looks_ahead(name):
    mixer, draw = small(name, CAUSAL)
    x = draw(2, 21, 8)
    y = mixer(x)
    for cut in (1, 4, 5, 12, 20):
        other = torch.cat([x[:, :cut], draw(2, 21 - cut, 8)], dim=1)
        changed = mixer(other)
        torch.testing.assert_close(changed[:, :cut], y[:, :cut], **tolerance(name))
        assert not torch.allclose(changed[:, cut:], y[:, cut:], **tolerance(name))


@pytest.mark.parametrize("name", [name for name, way in CASES if way == BIDIRECTIONAL])
def test_a_bidirectional_mixer_looks_both_ways(name):
    mixer, draw = small(name, BIDIRECTIONAL)
    length = 21 if name != "local" else 5  # a window of 4 to either side
    x = draw(1, length, 8).requires_grad_()
    weights = draw(8)
    for at, far in ((0, length - 1), (length - 1, 0)):
        reach = torch.autograd.grad((mixer(x)[0, at] * weights).sum(), x)[0]
        assert reach[0, far].abs().max() > (1e-7 if name in SINGLE else 1e-12)


def test_a_window_ends_where_it_says():
    for way, seen in ((BIDIRECTIONAL, range(6, 15)), (CAUSAL, range(6, 11))):
        mixer, draw = small("local", way)
        x = draw(1, 21, 8).requires_grad_()
        reach = torch.autograd.grad(mixer(x)[0, 10].sum(), x)[0].abs().amax(dim=(0, 2))
        assert reach.nonzero().flatten().tolist() == list(seen)


def test_window_attention_is_softmax_attention_under_a_band():
    """Against torch's own attention with the band and the global column written out."""
    for name in ("local", "longformer"):
        for way in (BIDIRECTIONAL, CAUSAL):
            mixer, draw = small(name, way)
            x = draw(2, 21, 8)
            q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in mixer.qkv(x).chunk(3, dim=-1))
            t = torch.arange(21)
            allowed = (t[:, None] - t).abs() <= 4
            if name == "longformer":
                allowed = allowed | (t == 0) | ((t[:, None] == 0) if way == BIDIRECTIONAL else False)
            if way == CAUSAL:
                allowed = allowed & (t <= t[:, None])
            o = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
            torch.testing.assert_close(mixer(x), mixer.out(o.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize(("name", "way"), CASES)
def test_what_stands_where_a_row_has_ended_has_no_say(name, way):
    mixer, draw = small(name, way)
    x, mask = draw(2, 21, 8), torch.ones(2, 21, dtype=torch.bool)
    mask[0, 13:] = False
    other = x.clone()
    other[0, 13:] = 5 * draw(8, 8)
    one, two = mixer(x, mask), mixer(other, mask)
    torch.testing.assert_close(one[mask], two[mask], **tolerance(name))
    torch.testing.assert_close(one[:1, :13], mixer(x[:1, :13]), **tolerance(name))
    assert torch.isfinite(one).all()


@pytest.mark.parametrize(("name", "way"), CASES)
def test_gradients_are_those_of_finite_differences(name, way):
    mixer, draw = small(name, way)
    x, mask = draw(2, 9, 8), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    x.requires_grad_()
    inputs = [x, *mixer.parameters()]
    weight = draw(2, 9, 8) * mask[..., None]

    def loss() -> torch.Tensor:
        return (mixer(x, mask) * weight).sum()

    steps = [torch.randn_like(one) for one in inputs]
    found = torch.autograd.grad(loss(), inputs, materialize_grads=True)
    slope = sum((g * s).sum() for g, s in zip(found, steps, strict=True))
    width = 1e-3 if name in SINGLE else 1e-6
    ends = []
    with torch.no_grad():
        for sign in (1, -2):
            for one, step in zip(inputs, steps, strict=True):
                one.add_(step, alpha=sign * width)
            ends.append(loss())
    measured = (ends[0] - ends[1]) / (2 * width)
    torch.testing.assert_close(
        slope, measured, rtol=2e-2 if name in SINGLE else 1e-6, atol=1e-2 if name in SINGLE else 1e-6
    )


@pytest.mark.parametrize("name", ["softmax", "local", "longformer", "linear", "performer", "linformer", "fastformer"])
def test_the_cost_formula_is_what_a_counter_of_matrix_products_finds(name):
    config = MixerConfig(64, 4, 64, False, 512)
    mixer = build_mixer(name, config)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        mixer(torch.randn(1, 512, 64))
    counted, told = counter.get_total_flops(), mixer.flops(config, 512)
    assert 0.9 * told < counted < 1.1 * told


@pytest.mark.parametrize(("name", "way"), CASES)
def test_cost_grows_as_the_mixer_says_and_states_stay(name, way):
    config = MixerConfig(64, 4, 64, way == CAUSAL, 40_000)
    kind = MIXERS[name]
    growth = kind.flops(config, 32_768) / kind.flops(config, 16_384)
    assert (3.5 < growth < 4) if name == "softmax" else (1.9 < growth < 2.2)
    grows = name == "softmax" or (name == "fastformer")
    assert (kind.held(config, 32_768) > kind.held(config, 16_384)) == grows


@pytest.mark.parametrize("name", NAMES)
def test_a_mixer_can_spend_what_softmax_attention_spends(name):
    """Within a tenth, on the shape of every task; Linformer's places alone are more than that where layers are small."""
    for task in TASKS.values():
        shape = task.shape
        for layer in range(len(HYBRIDS.get(name, (name,)))):
            base = MixerConfig(shape.width, shape.heads, shape.inner, False, task.length + 1, layer)
            fitted = count_parameters(name, fit(name, base))
            target = count_parameters("softmax", base)
            if name == "linformer" and task.name != "listops":
                continue
            rest = 2 * shape.width * shape.mlp
            assert abs(fitted - target) <= 0.1 * (target + rest), (name, task.name, fitted, target)


def test_hybrids_take_their_layers_in_turn():
    config = MixerConfig(8, 2, 16, True, 40)
    kinds = [type(build_mixer("hybrid_mamba2", replace(config, layer=layer))).title for layer in range(5)]
    assert kinds == ["Mamba-2", "Mamba-2", "Mamba-2", "Softmax attention", "Mamba-2"]
    assert directions("hybrid_mamba2") == (CAUSAL, BIDIRECTIONAL)
    assert directions("linformer") == (BIDIRECTIONAL,)


def test_performers_rows_are_orthogonal_in_blocks_and_estimate_the_softmax_kernel():
    rows = draw_rows(8_192, 8, seed=1).double()
    directions_ = torch.nn.functional.normalize(rows[:8], dim=1)
    torch.testing.assert_close(directions_ @ directions_.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-5)
    mixer = build_mixer("performer", MixerConfig(8, 1, 8, False, 40, 0, {"features": 8_192})).double()
    torch.manual_seed(4)
    q, k = 0.5 * torch.randn(1, 5, 1, 8).double(), 0.5 * torch.randn(1, 5, 1, 8).double()
    estimate = torch.einsum("bthk,bshk->ts", mixer.features(q), mixer.features(k))
    exact = torch.exp(torch.einsum("bthk,bshk->ts", q, k) * 8**-0.5)
    torch.testing.assert_close(estimate, exact, rtol=0.1, atol=0)


def test_wrong_settings_say_what_there_is():
    config = MixerConfig(8, 2, 16, True, 40)
    with pytest.raises(MixerError, match="Linformer is bidirectional only, not causal"):
        build_mixer("linformer", config)
    with pytest.raises(MixerError, match="There is no mixer"):
        build_mixer("quantum", config)
    with pytest.raises(MixerError, match="inner=15 is no multiple of heads=2"):
        build_mixer("softmax", replace(config, inner=15))
    with pytest.raises(MixerError, match=r"has no option size\. It has: window"):
        build_mixer("local", replace(config, options={"size": 3}))
    with pytest.raises(MixerError, match="up to 40 tokens, not 41"):
        build_mixer("linformer", replace(config, causal=False))(torch.randn(1, 41, 8))
