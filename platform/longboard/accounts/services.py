"""Changes to accounts: API tokens."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from longboard.accounts.models import ApiToken, User, digest_secret
from longboard.errors import BadRequest, Conflict, Unauthorised

PREFIX = "lb_"  # so that secret scanners find a leaked one
MAX_DAYS = 366
MAX_LIVE_TOKENS = 20
TOUCH_EVERY = timedelta(minutes=1)


def make_token(*, user: User, name: str, scope: str, days: int, now: datetime) -> tuple[ApiToken, str]:
    """A new token and its secret, which is shown this once: only a digest is stored."""
    name = name.strip()
    if not name or len(name) > 80:
        raise BadRequest(
            "Give the token a name of 1 to 80 characters, so that you know later what uses it.", field="name"
        )
    if scope not in ApiToken.Scope.values:
        raise BadRequest(f'Scope "{scope}" is not known. There are: {", ".join(ApiToken.Scope.values)}.', field="scope")
    if not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"A token lives 1 to {MAX_DAYS} days, not {days}.", field="days")
    if user.api_tokens.filter(revoked_at=None, expires_at__gt=now).count() >= MAX_LIVE_TOKENS:
        raise Conflict(f"You have {MAX_LIVE_TOKENS} live tokens, which is the most. Revoke one first.")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        digest=digest_secret(secret),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    return token, secret


def revoke_token(*, token: ApiToken, now: datetime) -> None:
    """Ends a token at once; a second call changes nothing."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now)


def is_token(secret: str) -> bool:
    """Whether somebody was ever given this token. Whether it still opens anything is another question: `user_of_token`."""
    return ApiToken.objects.filter(digest=digest_secret(secret)).exists()


def user_of_token(*, secret: str, now: datetime) -> tuple[User, ApiToken]:
    """The person behind a secret. Raises Unauthorised that says whether it is unknown, expired or revoked."""
    token = ApiToken.objects.select_related("user").filter(digest=digest_secret(secret)).first()
    if token is None:
        raise Unauthorised("This API token is not known. Make one on your account page and send it as a Bearer token.")
    if token.revoked_at is not None:
        raise Unauthorised(f'The API token "{token.name}" was revoked. Make a new one on your account page.')
    if not token.is_live(now):
        raise Unauthorised(f'The API token "{token.name}" expired on {token.expires_at:%Y-%m-%d}. Make a new one.')
    if not token.user.is_active:
        raise Unauthorised("The account of this token is not active.")
    if token.last_used_at is None or now - token.last_used_at > TOUCH_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.user, token
