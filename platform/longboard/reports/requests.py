"""What a person reports: the one request class behind the form, the API and the client."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from longboard.submissions.requests import Length, ModelSlug
from longboard_tasks.contract import MAX_SAMPLES, Slug, Spec
from longboard_tasks.intervals import wilson

MAX_NUMBERS = 500  # of one report

Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
SuiteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(@[1-9][0-9]{0,3})?$")]
Share = Annotated[float, Field(ge=0, le=1)]


class NumberIn(Spec):
    """One number in the unit of its metric, with its 95 % interval, or with the score of each sample."""

    suite: SuiteName  # a name means its current version; name@version another one
    task: Slug
    metric: Slug
    context_length: Length
    value: float
    n: Annotated[int, Field(ge=1, lt=2**31)]
    ci_low: float | None = None
    ci_high: float | None = None
    # Of shares: the interval is worked out from them. They are not kept.
    scores: Annotated[tuple[Share, ...], Field(max_length=MAX_SAMPLES)] | None = None

    @model_validator(mode="after")
    def _has_its_uncertainty(self) -> NumberIn:
        if self.scores is not None:
            if (self.ci_low, self.ci_high) != (None, None):
                raise ValueError("Give an interval or the samples' scores, not both.")
            if len(self.scores) != self.n:
                raise ValueError(f"There are {len(self.scores)} scores, and n is {self.n}.")
            mean = sum(self.scores) / len(self.scores)
            if abs(mean - self.value) > 1e-4:
                raise ValueError(f"The scores have the mean {mean:.6g}, and value is {self.value:.6g}.")
        elif self.ci_low is None or self.ci_high is None:
            raise ValueError("A number needs its 95 % interval, ci_low and ci_high, or the scores of its samples.")
        elif not self.ci_low <= self.value <= self.ci_high:
            raise ValueError(f"The value {self.value:g} lies outside its interval {self.ci_low:g} to {self.ci_high:g}.")
        return self

    @property
    def interval(self) -> tuple[float, float]:
        """As stated, or Wilson's of the scores."""
        if self.ci_low is None or self.ci_high is None:
            return wilson(min(1.0, max(0.0, self.value)), self.n)
        return self.ci_low, self.ci_high


class ReportRequest(Spec):
    """Numbers of one System on one hardware, with a link to where they come from."""

    model: ModelSlug
    method: Slug = "none"
    budget: Annotated[float, Field(gt=0, le=1)] = 1.0
    settings: Annotated[dict[Slug, float | int | str | bool], Field(max_length=20)] = {}  # of the method
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    hardware: Annotated[Line, Field(min_length=2, max_length=160)]
    source: Annotated[Line, Field(max_length=300)]
    numbers: Annotated[tuple[NumberIn, ...], Field(min_length=1, max_length=MAX_NUMBERS)]
    note: Line = ""
    idempotency_key: Annotated[Line, Field(max_length=100)] = ""

    @field_validator("source")
    @classmethod
    def _is_a_web_address(cls, source: str) -> str:
        try:
            parts = urlsplit(source)
            named = parts.hostname and "." in parts.hostname and "@" not in parts.netloc and parts.port != 0
        except ValueError:
            named = False
        if not named or parts.scheme not in ("https", "http") or any(c in source for c in " <>\"'`\\"):
            raise ValueError("Give the web address of a paper, a repository or a log that readers can look at.")
        return source
