"""K1 against attention in fp64 over what the cache stands for: every cut of the work, ragged rows, pages, sinks and window."""

from __future__ import annotations

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.decode import decode_attention
from longboard_kernels.errors import KernelInputError
from longboard_kernels.quantised import QuantisedKV, dequantise, empty_cache, quantise, quantise_into, quantise_into_ref
from longboard_kernels.tuned import forced


def attend(q: Tensor, keys: Tensor, values: Tensor, lengths: list[int], sinks: int = 0, window: int = 0) -> Tensor:
    """One softmax a head, fp64."""
    out = torch.empty(q.shape, dtype=torch.float64)
    for b, length in enumerate(lengths):
        seen = [t for t in range(length) if not window or t < sinks or t >= length - window]
        for h in range(q.shape[1]):
            g = h // (q.shape[1] // keys.shape[1])
            k, v = keys[b, g, seen].double().cpu(), values[b, g, seen].double().cpu()
            out[b, h] = torch.softmax(k @ q[b, h].double().cpu() * q.shape[2] ** -0.5, 0) @ v
    return out


def with_workers(number: int, block: int = 64, join: int = 2) -> dict[str, float]:
    """A configuration with that many programs: the interpreter counts 4 multiprocessors."""
    return {"block": block, "per_sm": number / 4, "join": join, "num_warps": 4, "num_stages": 2}


def make(lengths: list[int], heads: int, kv_heads: int, size: int, room: int, device: str) -> tuple[Tensor, ...]:
    q = torch.randn(len(lengths), heads, size, device=device).half()
    keys, values = torch.randn(2, len(lengths), kv_heads, room, size, device=device).half()
    for row, length in enumerate(lengths):  # what is not held must not be looked at
        keys[row, :, length:] = torch.nan
        values[row, :, length:] = torch.nan
    return q, keys, values, torch.tensor(lengths, dtype=torch.int32, device=device)


@pytest.mark.parametrize("workers", [1, 3, 26, 200])
def test_any_number_of_workers_gives_one_softmax_on_ragged_rows(workers: int, device: str) -> None:
    lengths = [300, 1, 130]
    q, keys, values, held = make(lengths, 8, 2, 32, 320, device)
    with forced("decode", with_workers(workers)):
        got = decode_attention(q, keys, values, held)
    assert relative_error(got, attend(q, keys, values, lengths)) < 2e-3


@pytest.mark.parametrize("share", [1, 7, 8])
def test_groups_of_any_size_share_a_key_head(share: int, device: str) -> None:
    q, keys, values, held = make([70], 2 * share, 2, 16, 70, device)
    with forced("decode", with_workers(3, block=32)):
        assert relative_error(decode_attention(q, keys, values, held), attend(q, keys, values, [70])) < 2e-3


@pytest.mark.parametrize(("sinks", "window"), [(4, 40), (0, 17), (70, 64), (4, 500)])
def test_sinks_and_window_are_all_that_is_seen(sinks: int, window: int, device: str) -> None:
    lengths = [290, 60]
    q, keys, values, held = make(lengths, 4, 2, 16, 300, device)
    wanted = attend(q, keys, values, lengths, sinks, window)
    with forced("decode", with_workers(5, block=32)):
        assert relative_error(decode_attention(q, keys, values, held, sinks=sinks, window=window), wanted) < 2e-3


@pytest.mark.parametrize("size", [16, 64])
def test_pages_in_any_order_are_a_cache(size: int, device: str) -> None:
    lengths = [100, 37]
    q, keys, values, held = make(lengths, 4, 2, 32, 128, device)
    count = 128 // size
    order = torch.randperm(2 * count, device=device)
    pages = order.reshape(2, count).int()
    pool = torch.empty(2, 2 * count, 2, size, 32, device=device).half()
    for kind, cache in enumerate((keys, values)):
        pool[kind][order] = cache.unflatten(2, (count, size)).transpose(1, 2).flatten(0, 1)
    with forced("decode", with_workers(5, block=32)):
        got = decode_attention(q, pool[0], pool[1], held, pages=pages)
    assert relative_error(got, attend(q, keys, values, lengths)) < 2e-3


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("workers", [1, 7])
def test_a_quantised_cache_is_attended_to_as_what_it_stands_for(bits: int, workers: int, device: str) -> None:
    lengths = [384, 131]
    q = torch.randn(2, 8, 32, device=device).half()
    keys, values = torch.randn(2, 2, 2, 384, 32, device=device) + 0.5
    cache = quantise(keys, values, bits)
    plain = dequantise(cache)
    with forced("decode", with_workers(workers)):
        got = decode_attention(q, cache, None, torch.tensor(lengths, dtype=torch.int32, device=device))
        some = decode_attention(
            q, cache, None, torch.tensor(lengths, dtype=torch.int32, device=device), sinks=4, window=60
        )
    assert relative_error(got, attend(q, *plain, lengths)) < 3e-3
    assert relative_error(some, attend(q, *plain, lengths, 4, 60)) < 3e-3


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_pages_in_any_order_are_a_cache(bits: int, device: str) -> None:
    q, held = torch.randn(1, 4, 16, device=device).half(), torch.tensor([300], dtype=torch.int32, device=device)
    cache = quantise(*torch.randn(2, 1, 2, 384, 16, device=device), bits)
    order = torch.tensor([2, 0, 1], device=device)

    def scatter(x: Tensor | None) -> Tensor | None:
        """[1, HKV, n, ...] -> [pages, HKV, 1, ...], group i on page order[i]."""
        if x is None:
            return None
        pool = torch.empty_like(x[0].transpose(0, 1))
        pool[order] = x[0].transpose(0, 1)
        return pool.unsqueeze(2).contiguous()

    parts = (cache.k_codes, cache.k_scale, cache.k_zero, cache.v_codes, cache.v_scale, cache.v_zero)
    paged = QuantisedKV(bits, *map(scatter, parts))
    with forced("decode", with_workers(2)):
        whole = decode_attention(q, cache, None, held)
        assert relative_error(decode_attention(q, paged, None, held, pages=order[None].int()), whole) < 1e-3


@pytest.mark.parametrize("bits", [4, 8])
def test_groups_written_into_a_cache_have_the_definitions_codes_and_touch_no_other(bits: int, device: str) -> None:
    line = torch.randn(2, 256, 3, 2 * 16, device=device)  # keys and values as slices of a projection
    keys, values = (x.transpose(1, 2) for x in line.split(16, dim=-1))
    cache, wanted = (empty_cache(2, 3, 600, 16, bits, device) for _ in range(2))
    assert cache.k_codes.shape[2] == 5
    names = ("k_codes", "k_scale", "k_zero", "v_codes", "v_scale", "v_zero")
    for one in (cache, wanted):
        for name in names:
            if (tensor := getattr(one, name)) is not None:
                tensor.fill_(77)
    quantise_into(cache, keys, values, 1)
    quantise_into_ref(wanted, keys, values, 1)
    for name in names:
        got, right = getattr(cache, name), getattr(wanted, name)
        if got is None:
            continue
        assert (got[:, :, :1] == 77).all()
        assert (got[:, :, 3:] == 77).all()
        if name.endswith("codes"):  # a number half-way between two codes may go either way
            assert (got == right).double().mean() > 0.999
        else:
            assert torch.allclose(got, right, atol=1e-6)


def test_groups_beyond_the_room_are_refused() -> None:
    with pytest.raises(KernelInputError, match="beyond the room"):
        quantise_into(empty_cache(1, 1, 128, 8, 8, "cpu"), torch.zeros(1, 1, 128, 8), torch.zeros(1, 1, 128, 8), 1)


@pytest.mark.parametrize(("bits", "share_of_range"), [(8, 1 / 254), (4, 1 / 30)])
def test_a_code_is_within_half_a_step_of_its_number(bits: int, share_of_range: float, device: str) -> None:
    keys, values = torch.randn(2, 1, 2, 256, 8, device=device)
    for one, back, along in zip((keys, values), dequantise(quantise(keys, values, bits)), (2, 3), strict=True):
        parts, error = one.unflatten(2, (2, 128)), (one - back).unflatten(2, (2, 128)).abs()
        axis = along + 1
        reach = (
            2 * parts.abs().amax(axis, keepdim=True)
            if bits == 8
            else parts.amax(axis, keepdim=True) - parts.amin(axis, keepdim=True)
        )
        assert (error <= reach * share_of_range * 1.001).all()


def test_queries_may_be_a_view_and_keys_need_their_values(device: str) -> None:
    q, keys, values, held = make([40], 4, 2, 16, 40, device)
    turned = q.transpose(1, 2).contiguous().transpose(1, 2)
    with forced("decode", with_workers(2, block=32)):
        assert torch.equal(decode_attention(turned, keys, values, held), decode_attention(q, keys, values, held))
        with pytest.raises(KernelInputError, match="without values"):
            decode_attention(q, keys, None, held)


def test_an_open_group_is_not_quantised() -> None:
    with pytest.raises(KernelInputError, match="whole groups"):
        quantise(torch.zeros(1, 1, 100, 8), torch.zeros(1, 1, 100, 8), 8)
