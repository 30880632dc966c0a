"""Headers that every answer carries, and bodies that no route takes."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

# Everything comes from us: no inline script, no third party. Plotly writes style elements, hence the one
# 'unsafe-inline', for styles alone.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'"
)


class ContentSecurityPolicy:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
        return response


class BodyLimit:
    """Refuses a body that is announced larger than any route takes, before a byte of it is read or put on disk.

    A form with files would otherwise be unpacked to the disk before a view, or its CSRF check, sees it. A server reads no
    more than was announced, so that a body which lies about its length is cut off.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        announced = request.META.get("CONTENT_LENGTH") or "0"
        if (
            not announced.isascii()
            or not announced.isdecimal()
            or int(announced[:20]) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        ):
            message = (
                f"A request has at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes. Send a checkpoint in pieces."
            )
            error = {"code": "too_large", "message": message, "field": ""}
            return JsonResponse({"error": error}, status=413, headers={"Connection": "close"})
        return self.get_response(request)
