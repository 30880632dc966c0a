"""The one REST API, /api/v1: routers together, errors in one format, OpenAPI 3.1."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from longboard.api import boards, checkpoints, nodes, people, reports, runs
from longboard.errors import LongboardError

log = logging.getLogger(__name__)

api = NinjaAPI(
    title="Longboard",
    version="1",
    description="Submit systems, watch runs, read boards; and the routes that worker nodes use. "
    "Lists are bounded and paged by cursor; every error has one format.",
    urls_namespace="api-v1",
)
api.add_router("", people.router)
api.add_router("", boards.router)
api.add_router("", reports.router)
api.add_router("", checkpoints.router)
api.add_router("", runs.router)
api.add_router("", nodes.router)


def _error(request: HttpRequest, status: int, code: str, message: str, field: str = "") -> HttpResponse:
    response = api.create_response(
        request, {"error": {"code": code, "message": message, "field": field}}, status=status
    )
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(LongboardError)
def _refused(request: HttpRequest, error: LongboardError) -> HttpResponse:
    return _error(request, error.status, error.code, error.message, error.field)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    first: dict[str, Any] = error.errors[0] if error.errors else {"loc": (), "msg": "The request is not valid."}
    # ninja puts ("body", <parameter>, field, ...) in front.
    field = "/".join(str(part) for part in first["loc"][1:] if part != "body")
    return _error(request, 422, "invalid", f"{field or 'request'}: {first['msg']}", field)


@api.exception_handler(AuthenticationError)
def _unauthorised(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return _error(
        request, 401, "unauthorised", "Send a token: Authorization: Bearer lb_... (make one on your account page)."
    )


@api.exception_handler(Http404)
def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return _error(request, 404, "not_found", "There is nothing here.")


@api.exception_handler(RequestDataTooBig)
def _too_big(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return _error(request, 413, "too_large", "The request body is larger than the site takes.")


@api.exception_handler(HttpError)
def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    return _error(request, error.status_code, "bad_request", str(error))


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def _database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    """The database restarts, say: nothing was written, and nodes ask again."""
    log.error("database away", extra={"path": request.path, "error": str(error).splitlines()[0][:200]})
    response = _error(request, 503, "unavailable", "The site cannot reach its database. Try again in some seconds.")
    response["Retry-After"] = "5"
    return response


@api.exception_handler(Exception)
def _bug(request: HttpRequest, error: Exception) -> HttpResponse:
    log.exception("request broke", extra={"path": request.path})
    return _error(request, 500, "internal", "This is our fault; it is in our log. Try again later.")
