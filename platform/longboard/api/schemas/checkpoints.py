"""An upload's files and how far each has come, for its owner and for the node that runs it."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, Field


class CheckpointFileOut(BaseModel):
    name: str
    size: int
    next_offset: int = Field(description="bytes that are here: where to go on")
    sha256: str = Field(description="as announced, then as found; empty until either")


class CheckpointOut(BaseModel):
    id: UUID
    title: str
    state: str
    piece_bytes: int = Field(description="the largest piece that is taken")
    model: str | None = Field(description="the Model's slug once it is complete")
    files: list[CheckpointFileOut]


class NodeCheckpointOut(BaseModel):
    id: str
    files: list[CheckpointFileOut]
