"""Models and suites, and a hub's model to register."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, StringConstraints

from longboard.api.schemas.base import FromRow


class ModelOut(FromRow):
    slug: str
    title: str
    source: str
    ref: str
    revision: str
    configuration: dict[str, bool | int]
    family: str
    architecture: str
    parameters: int | None
    trained_length: int | None
    max_positions: int | None
    licence: str


class HubModelIn(BaseModel):
    repository: Annotated[str, StringConstraints(max_length=200)]
    revision: Annotated[str, StringConstraints(max_length=40)]
    title: Annotated[str, StringConstraints(max_length=160)] = ""


class SuiteOut(FromRow):
    name: str
    version: int
    title: str
    kind: str
    summary: str
    definition: dict
    is_current: bool
