"""Somebody who may submit an architecture here, on a site with its suite and a pool."""

from __future__ import annotations

import pytest
from tests import factories


@pytest.fixture
def ada():
    factories.make_suite("lra")
    factories.make_pool()
    return factories.make_user("ada", is_staff=True)  # no quota: six trainings on a CPU would take years
