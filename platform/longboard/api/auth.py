"""Who calls: a person by API token or session, a node by its own token. Tokens travel in the header, never in a URL."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja.errors import HttpError
from ninja.security import HttpBearer
from ninja.security.session import SessionAuth

from longboard.accounts.models import ApiToken, User
from longboard.accounts.services import PREFIX, user_of_token
from longboard.errors import NotAllowed, Unauthorised
from longboard.fleet.credentials import NODE_PREFIX, node_of_token
from longboard.fleet.models import Node


class PersonRequest(HttpRequest):
    """A request that PERSON let in."""

    auth: User


class NodeRequest(HttpRequest):
    """A request that NODE let in."""

    auth: Node


class PersonToken(HttpBearer):
    """`Authorization: Bearer lb_...`; the scope of the token bounds what it may do. `scopes` may write here."""

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        self.scopes = scopes

    def authenticate(self, request: HttpRequest, token: str) -> User:
        if not token.startswith(PREFIX):
            raise Unauthorised(f"This route is for people: send an API token, which starts with {PREFIX}.")
        user, row = user_of_token(secret=token, now=timezone.now())
        if request.method not in ("GET", "HEAD") and row.scope not in self.scopes:
            raise NotAllowed(
                f'The API token "{row.name}" has the scope "{row.scope}". Make one with the scope "{self.scopes[0]}".'
            )
        return user


class NodeToken(HttpBearer):
    """`Authorization: Bearer lbn_...`: the token that a node got for its signature; it lives for minutes."""

    def authenticate(self, request: HttpRequest, token: str) -> Node:
        if not token.startswith(NODE_PREFIX):
            raise Unauthorised(f"This route is for nodes: send a node's token, which starts with {NODE_PREFIX}.")
        return node_of_token(secret=token, now=timezone.now())


class PersonSession(SessionAuth):
    """A signed-in browser; writes need its CSRF token. Whoever is not signed in is asked for a token, not for that."""

    def _get_key(self, request: HttpRequest) -> str | None:
        if not request.user.is_authenticated:
            return None
        try:
            return super()._get_key(request)
        except HttpError as error:
            raise NotAllowed(
                "A browser's write needs its CSRF token in X-CSRFToken. A script sends an API token in its place."
            ) from error

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        return request.user if request.user.is_authenticated else None


PERSON = [PersonToken(ApiToken.Scope.SUBMIT), PersonSession()]
REPORTER = [PersonToken(ApiToken.Scope.REPORT, ApiToken.Scope.SUBMIT), PersonSession()]
NODE = NodeToken()
