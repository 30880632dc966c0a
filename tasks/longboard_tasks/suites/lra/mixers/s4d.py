"""S4D: a diagonal state space a channel, applied as one long convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import Mixer, MixerConfig, at_least_single, exact, ways


class DiagonalStateSpace(nn.Module):
    """y = conv(kernel, u) + D u, kernel_t = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(t dt A_n), a channel at a time.

    A starts as -1/2 + i pi n (S4D-Lin), dt log-uniform from 0.001 to 0.1, both learned; N = states / 2 pairs. With `both` a
    second kernel runs from the right.
    """

    def __init__(self, channels: int, states: int, *, both: bool) -> None:
        super().__init__()
        n = states // 2
        self.log_dt = nn.Parameter(math.log(0.001) + torch.rand(channels) * math.log(100))
        self.log_decay = nn.Parameter(torch.full((channels, n), math.log(0.5)))
        self.turn = nn.Parameter(math.pi * torch.arange(n).repeat(channels, 1))
        self.c = nn.Parameter(torch.randn(1 + both, channels, n, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(channels))

    def parts(self) -> tuple[Tensor, Tensor]:
        """(dt A [channels, N], C B dt-discretised [1 or 2, channels, N]), complex; zero-order hold."""
        a = torch.complex(-torch.exp(self.log_decay), self.turn)
        step = torch.exp(self.log_dt)[:, None] * a
        return step, torch.view_as_complex(self.c) * (torch.exp(step) - 1) / a

    def kernels(self, tokens: int) -> Tensor:
        """[1 or 2, channels, T]."""
        step, c = self.parts()
        powers = torch.exp(step[..., None] * torch.arange(tokens, device=step.device))
        return 2 * torch.einsum("dcn,cnt->dct", c, powers).real

    def forward(self, u: Tensor) -> Tensor:
        """[B, T, channels] in fp32 or fp64, same out."""
        T = u.shape[1]
        kernel = self.kernels(T)
        signal = u.transpose(1, 2)
        size = 2 * T
        y = torch.fft.irfft(torch.fft.rfft(signal, size) * torch.fft.rfft(kernel[0], size), size)[..., :T]
        if len(kernel) == 2:  # from the right, the token itself left to the first kernel
            back = torch.fft.irfft(torch.fft.rfft(signal.flip(-1), size) * torch.fft.rfft(kernel[1], size), size)
            y = y + F.pad(back[..., : T - 1], (1, 0)).flip(-1)
        return y.transpose(1, 2) + u * self.skip

    def recur(self, u: Tensor) -> Tensor:
        """The first kernel as a recurrence, one token at a time: its definition."""
        step, c = self.parts()
        state, steps = torch.zeros_like(step).expand(u.shape[0], -1, -1), []
        for t in range(u.shape[1]):
            state = torch.exp(step) * state + u[:, t, :, None]
            steps.append(2 * (c[0] * state).sum(-1).real)
        return torch.stack(steps, dim=1) + u * self.skip


class S4D(Mixer):
    """Channels in, a diagonal state space on each, GELU, and a gated linear unit out.

    Cost: 6 T width inner FLOP, and a direction 8 T inner states / 2 for the kernel and 15 T inner log2(2 T) for three FFTs.
    """

    title = "S4D"
    source = "Gu et al. 2022 (S4D-Lin, arXiv:2206.11893)"
    options = {"states": 64}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.into = nn.Linear(config.width, config.inner)
        self.space = DiagonalStateSpace(config.inner, self.option("states"), both=not config.causal)
        self.out = nn.Linear(config.inner, 2 * config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        u = self.into(x)
        if mask is not None:
            u = u * mask[..., None]
        with exact(x):
            y = F.gelu(self.space(at_least_single(u)))
        return F.glu(self.out(y.to(x.dtype)), dim=-1)

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        states = config.options.get("states", cls.options["states"])
        a_way = tokens * config.inner * (4 * states + 15 * math.ceil(math.log2(2 * tokens)))
        return 6 * tokens * config.width * config.inner + ways(config) * a_way

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return config.inner * config.options.get("states", cls.options["states"])
