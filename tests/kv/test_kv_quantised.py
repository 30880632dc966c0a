"""Packed numbers come back within their stated error, whatever they were; what the layer holds is what it says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.suites.kv.quantised import Quantised, QuantisedLayer, pack, quantised_bytes, unpack


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([2, 4, 8]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    scale=st.sampled_from([1e-3, 1.0, 300.0]),
    shift=st.sampled_from([0.0, -7.0, 1_000.0]),
    seed=st.integers(0, 2**31),
)
def test_packed_numbers_come_back_within_half_a_step(bits, dtype, scale, shift, seed):
    draw = torch.Generator().manual_seed(seed)
    numbers = (torch.randn(2, 3, 5, 64, generator=draw) * scale + shift).to(dtype)
    packed = pack(numbers, bits=bits, group=32)
    back = unpack(packed, dtype).float()
    groups = numbers.float().unflatten(-1, (-1, 32))
    step = (groups.amax(-1) - groups.amin(-1)) / (2**bits - 1)
    largest = groups.abs().amax(-1)
    # And the roundings of multiply and add in the dtype.
    allowed = step / 2 * 1.001 + largest * (2**-10 + 3 * torch.finfo(dtype).eps) + 2e-7
    assert bool(((back - numbers.float()).unflatten(-1, (-1, 32)).abs() <= allowed[..., None]).all())
    assert packed.codes.numel() == numbers.numel() * bits // 8


def test_equal_numbers_and_the_ends_of_a_group_come_back():
    numbers = torch.zeros(1, 64)
    numbers[0, 32:] = torch.linspace(-1, 1, 32)
    back = unpack(pack(numbers, bits=2, group=32), torch.float32)
    assert torch.equal(back[0, :32], numbers[0, :32])
    assert back[0, 32] == -1
    assert back[0, -1] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_gives_back_its_past_and_holds_what_the_formula_says(bits, dtype):
    layer = QuantisedLayer(0, bits=bits)
    keys, values = (torch.randn(2, 3, 700, 64).to(dtype) for _ in range(2))
    layer.update(keys[:, :, :600], values[:, :, :600])
    layer.compress()
    for at in range(600, 700):
        seen = layer.update(keys[:, :, at : at + 1], values[:, :, at : at + 1])
        assert layer.get_seq_length() == at + 1
        layer.compress()
    element = keys.element_size()
    assert layer.held_bytes() == 2 * quantised_bytes(700, heads=3, size=64, element=element, bits=bits)
    for true, held in zip((keys, values), seen, strict=True):
        assert torch.equal(held[:, :, -128:], true[:, :, -128:])  # the residual window is exact
        assert held.shape == true.shape
        # Normal numbers in groups of 32 span about 4 standard deviations.
        assert float((held - true).float().abs().mean()) < 4.5 / (2**bits - 1) / 4 + 0.01
    groups = keys[:, :, :32].float()  # one channel of 32 tokens: a group of keys
    step = (groups.amax(2) - groups.amin(2)) / (2**bits - 1)
    error = (seen[0][:, :, :32].float() - groups).abs().amax(2)
    assert bool((error <= step / 2 * 1.01 + groups.abs().amax(2) * (2**-10 + 3 * torch.finfo(dtype).eps)).all())


def test_going_back_puts_the_packed_cache_back():
    layer = QuantisedLayer(0, bits=4)
    keys = torch.randn(1, 2, 400, 32)
    layer.update(keys[:, :, :300], keys[:, :, :300])
    layer.compress()
    saved = layer.save()
    first = [t.clone() for t in layer.update(keys[:, :, 300:301], keys[:, :, 300:301])]
    for _ in range(2):
        layer.load(saved)
        for at in range(302, 380):
            layer.update(keys[:, :, at : at + 1], keys[:, :, at : at + 1])
            layer.compress()
        layer.load(saved)
        again = layer.update(keys[:, :, 300:301], keys[:, :, 300:301])
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_groups_that_fill_no_bytes_are_refused():
    with pytest.raises(MethodError, match="whole bytes"):
        Quantised(2, group=3)
