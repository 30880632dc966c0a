"""What is not there: a page for readers, the one error format for programs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import page_not_found


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404. An address under /api/ that no route has, or whose id has another form, is answered as every refusal there."""
    if not request.path.startswith("/api/"):
        return page_not_found(request, exception)
    message = f"There is no route {request.path[:200]!r}. /api/v1/docs lists those that there are."
    return JsonResponse({"error": {"code": "not_found", "message": message, "field": ""}}, status=404)
