"""Kernels run on the GPU when there is one (`make test-gpu`), else in Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from longboard_kernels.device import interpreted

DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1" else "cpu"


@pytest.fixture(autouse=True)
def kernels_run() -> Iterator[None]:
    torch.manual_seed(0)
    with interpreted():
        yield


@pytest.fixture
def device() -> str:
    return DEVICE
