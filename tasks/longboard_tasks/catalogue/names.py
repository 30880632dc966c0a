"""The one error of the catalogue."""

from __future__ import annotations


class UnknownName(ValueError):
    """A suite, task, metric or method that the catalogue does not have; the message lists what it has."""
