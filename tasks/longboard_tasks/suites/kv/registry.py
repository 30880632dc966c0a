"""From a MethodRef to a Method. Names, budgets and families stand in `longboard_tasks.catalogue.methods`; here is what runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from longboard_tasks.catalogue.methods import METHODS
from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.suites.kv.policies import POLICIES
from longboard_tasks.suites.kv.prompt import PromptCompression
from longboard_tasks.suites.kv.quantised import Quantised

BITS = {"int8": 8, "int4": 4, "int2": 2}
MAKERS: dict[str, Callable[..., Any]] = {
    **POLICIES,
    **{name: partial(Quantised, bits) for name, bits in BITS.items()},
    "prompt_compression": PromptCompression,
}


def build(reference: MethodRef) -> Any:
    """The Method of a reference with a budget under 1; None at 1, where nothing is done and every bit stays.

    Raises MethodError for an unknown name or setting, a setting of the wrong kind, or a budget that the method does not have.
    """
    make = MAKERS.get(reference.name)
    if make is None:
        raise MethodError(
            f'Method "{reference.name}" is not available on this node. Available: none, {", ".join(MAKERS)}.'
        )
    fixed = METHODS[reference.name].budgets
    if fixed and reference.budget not in (*fixed, 1.0):
        raise MethodError(
            f"budget={reference.budget:g} was asked for, but {reference.name} has {' or '.join(f'{b:g}' for b in fixed)}."
        )
    known = settings_of(reference.name)
    for name, value in reference.settings.items():
        if name not in known:
            raise MethodError(f'{reference.name} has no setting "{name}". It has: {", ".join(known)}.')
        kind = type(known[name])
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise MethodError(f"{reference.name}: {name}={value!r} is no {kind.__name__}.")
    if reference.budget == 1.0:
        return None
    return make(**reference.settings) if reference.name in BITS else make(reference.budget, **reference.settings)


def settings_of(name: str) -> dict[str, Any]:
    """The settings of a Method and their defaults."""
    make = MAKERS[name]
    taken = inspect.signature(make.func if isinstance(make, partial) else make).parameters
    return {key: parameter.default for key, parameter in taken.items() if key not in ("budget", "bits")}
