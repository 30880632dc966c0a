"""Signing up and in, tokens, and a person's own page."""

from __future__ import annotations

import re

import pytest
from tests import factories
from tests.pages.reading import parsed, text

pytestmark = pytest.mark.django_db


def test_a_person_signs_up_out_and_in_again(client):
    data = {"username": "grace", "password1": factories.PASSWORD, "password2": factories.PASSWORD}
    assert client.post("/accounts/sign-up/", data)["Location"] == "/accounts/"
    assert "grace" in text(parsed(client.get("/accounts/")))
    assert client.get("/accounts/sign-out/").status_code == 405, "a link must not sign anybody out"
    client.post("/accounts/sign-out/")
    assert client.get("/accounts/").status_code == 302
    wrong = client.post("/accounts/sign-in/", {"username": "grace", "password": "nope"})
    assert "do not belong together" in text(parsed(wrong))
    right = client.post("/accounts/sign-in/", {"username": "grace", "password": factories.PASSWORD, "next": "/submit/"})
    assert right["Location"] == "/submit/"
    assert client.post("/accounts/sign-in/", {"next": "https://evil.example/"}).status_code in (200, 302)


def test_signing_in_never_leads_off_the_site(client):
    user = factories.make_user(password=factories.PASSWORD)
    data = {"username": user.username, "password": factories.PASSWORD, "next": "https://evil.example/"}
    assert client.post("/accounts/sign-in/", data)["Location"] == "/"


def test_a_weak_password_is_refused_beside_its_field(client):
    response = client.post("/accounts/sign-up/", {"username": "grace", "password1": "12345", "password2": "12345"})
    assert response.status_code == 422
    assert "too short" in text(parsed(response))


def test_a_token_is_shown_once_and_can_be_revoked(client, ada):
    made = client.post("/accounts/tokens/", {"name": "laptop", "scope": "submit", "days": "30"})
    (secret,) = parsed(made).xpath("//pre/text()")
    assert re.fullmatch(r"lb_[\w-]{40,}", secret)
    assert "no-store" in made["Cache-Control"]
    later = client.get("/accounts/tokens/")
    assert secret.encode() not in later.content
    assert "laptop" in text(parsed(later))
    token = ada.api_tokens.get()
    client.post(f"/accounts/tokens/{token.pk}/revoke/")
    assert "revoked" in text(parsed(client.get("/accounts/tokens/")))


def test_nobody_revokes_anothers_token(client, ada):
    client.post("/accounts/tokens/", {"name": "laptop", "scope": "submit", "days": "30"})
    token = ada.api_tokens.get()
    client.force_login(factories.make_user())
    assert client.post(f"/accounts/tokens/{token.pk}/revoke/").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_bad_token_settings_are_refused_beside_the_field(client, ada):
    response = client.post("/accounts/tokens/", {"name": "x", "scope": "submit", "days": "9999"})
    assert response.status_code == 422
    assert "366" in text(parsed(response).xpath("//ul[@class='errorlist']")[0])


def test_the_profile_lists_my_submissions_and_nobody_elses(client, ada):
    mine, other = factories.make_submission(ada, note="mine"), factories.make_submission(note="other")
    factories.make_run(mine)
    factories.make_run(other)
    said = text(parsed(client.get("/accounts/")))
    assert "mine" in said
    assert "queued" in said
    assert "other" not in said
