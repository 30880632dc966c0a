"""Nodes and pools as people see them, and the state that a node's owner sets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints


class NodeOut(BaseModel):
    id: UUID
    name: str
    state: str
    is_alive: bool
    last_seen_at: datetime | None


class PoolOut(BaseModel):
    slug: str
    title: str
    hardware: str
    is_first_party: bool
    accepts_public_runs: bool
    nodes: list[NodeOut]


class NodeStateIn(BaseModel):
    state: Annotated[str, StringConstraints(max_length=10)]


class NodeDetail(NodeOut):
    state_note: str
    pool: str
    owner: str
    public_key: str
    past_keys: list[str]
    report: dict
    software: dict
    self_test: dict
    enrolled_at: datetime
    runs: list[UUID] = Field(description="what it works on now")
