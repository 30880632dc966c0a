"""What a person asks for: the one request class behind the form and the API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from longboard_tasks.contract import MAX_CONTEXT_LENGTH, MAX_SAMPLES, Slug, Spec

MAX_RUNS = 200

Length = Annotated[int, Field(ge=1, le=MAX_CONTEXT_LENGTH)]
ModelSlug = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[A-Za-z0-9_.-]+$")]


TaskPath = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,64}/[a-z0-9._-]{1,64}$")]


class SubmissionRequest(Spec):
    """One System, suites, context lengths, pools. It becomes one Run for each combination."""

    model: ModelSlug
    # Of an architecture alone: "causal", and the options of its mixer. Left out where empty: old requests keep their digests.
    configuration: Annotated[dict[Slug, bool | int], Field(max_length=10, exclude_if=lambda given: not given)] = {}
    method: Slug = "none"
    budget: Annotated[float, Field(gt=0, le=1)] = 1.0
    settings: Annotated[dict[Slug, float | int | str | bool], Field(max_length=20)] = {}  # of the method
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    kernels: Literal["stock", "longboard"] = "stock"
    suites: Annotated[tuple[Slug, ...], Field(min_length=1, max_length=20)]
    # Some tasks alone, each as suite/task; every task of a suite of which none is named.
    tasks: Annotated[tuple[TaskPath, ...], Field(max_length=100)] = ()
    # Empty for a suite whose tasks have a length each (lra): then all of them.
    context_lengths: Annotated[tuple[Length, ...], Field(max_length=30)] = ()
    pools: Annotated[tuple[Slug, ...], Field(min_length=1, max_length=10)]
    # Per task; of lra, trainings from seeds of their own. The suite's default when left out.
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    note: Annotated[str, StringConstraints(max_length=300)] = ""
    idempotency_key: Annotated[str, StringConstraints(max_length=100)] = ""
