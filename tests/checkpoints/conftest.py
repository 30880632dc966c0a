"""A folder of its own for the files of every test here, and somebody with a token."""

from __future__ import annotations

import pytest
from django.utils import timezone
from tests import factories

from longboard.accounts.services import make_token


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path


@pytest.fixture
def ada():
    user = factories.make_user("ada")
    _, secret = make_token(user=user, name="t", scope="submit", days=1, now=timezone.now())
    user.headers = {"Authorization": f"Bearer {secret}"}
    return user
