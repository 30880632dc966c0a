import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def _empty_cache():
    """Tests share row ids and clocks, so that a region kept from one would look fresh to the next."""
    cache.clear()
