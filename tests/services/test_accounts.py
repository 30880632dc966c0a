from datetime import timedelta

import pytest
from tests.factories import NOW, make_user

from longboard.accounts.models import ApiToken
from longboard.accounts.services import make_token, revoke_token, user_of_token
from longboard.errors import BadRequest, Unauthorised

pytestmark = pytest.mark.django_db


def token(user=None, **fields):
    return make_token(
        user=user or make_user(), **({"name": "laptop", "scope": "submit", "days": 30, "now": NOW} | fields)
    )


def test_a_token_names_its_person_until_it_expires():
    user = make_user()
    _, secret = token(user)
    assert user_of_token(secret=secret, now=NOW + timedelta(days=29))[0] == user
    with pytest.raises(Unauthorised, match="expired on 2026-12-24"):
        user_of_token(secret=secret, now=NOW + timedelta(days=30))


def test_a_revoked_token_is_refused():
    row, secret = token()
    revoke_token(token=row, now=NOW)
    with pytest.raises(Unauthorised, match="was revoked"):
        user_of_token(secret=secret, now=NOW)


def test_a_token_of_a_closed_account_is_refused():
    user = make_user(is_active=False)
    with pytest.raises(Unauthorised, match="not active"):
        user_of_token(secret=token(user)[1], now=NOW)


def test_the_secret_is_nowhere_in_the_row():
    _, secret = token()
    assert secret not in str(vars(ApiToken.objects.get()))


@pytest.mark.parametrize("fields", [{"name": " "}, {"name": "x" * 81}, {"scope": "root"}, {"days": 0}, {"days": 400}])
def test_a_token_needs_a_name_a_known_scope_and_an_end(fields):
    with pytest.raises(BadRequest):
        token(**fields)
