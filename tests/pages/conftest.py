"""What several files of pages start from."""

import pytest
from django.core.cache import cache
from tests import factories

NUMBERS = [
    ("apple", 1024, 0.9, 100.0),
    ("birch", 1024, 0.6, 20.0),
    ("cedar", 1024, 0.3, 300.0),
    ("apple", 4096, 0.7, 500.0),
    ("birch", 4096, 0.55, 60.0),
]


@pytest.fixture(autouse=True)
def _empty_cache():
    """Tests share row ids and clocks, so that a region kept from one would look fresh to the next."""
    cache.clear()


@pytest.fixture
def systems():
    return factories.make_board(NUMBERS)


@pytest.fixture
def run():
    """An accepted run with numbers and samples, on a board."""
    factories.make_board([("apple", 1024, 0.9, 100.0)])
    system = factories.System.objects.get(model__slug="apple")
    run = factories.make_accepted_run(system, factories.make_user("ada"))
    factories.make_measurement(run, "accuracy", 0.9)
    for depth in (0.0, 0.5, 1.0):
        factories.make_measurement(run, "accuracy_by_depth", 0.75, depth=depth, n=4)
    for index in range(60):
        factories.make_sample(run, index, score=float(index % 7 != 0), answer="1234567" if index % 7 else "the whale")
    return run


@pytest.fixture
def ada(client):
    factories.make_suite()
    factories.make_model("apple", max_positions=8192)
    factories.make_pool()
    user = factories.make_user("ada")
    client.force_login(user)
    return user
