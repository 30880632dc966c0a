"""What several groups of answers use: the one form of an error, and reading off a row."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FromRow(BaseModel):
    """Read straight off a table's row."""

    model_config = ConfigDict(from_attributes=True)


class ErrorBody(BaseModel):
    code: str
    message: str
    field: str = ""


class Error(BaseModel):
    error: ErrorBody
