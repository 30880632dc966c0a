"""What a kernel says when its input does not fit it."""

from __future__ import annotations


class KernelInputError(ValueError):
    """Shapes, strides or dtypes that a kernel cannot take. It is raised instead of a slow path taken in silence."""

    code = "kernel_input"


def require(condition: bool, sentence: str) -> None:
    """Raises KernelInputError(sentence) unless `condition` holds."""
    if not condition:
        raise KernelInputError(sentence)
