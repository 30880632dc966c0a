"""Every route of the site: pages by app, then the API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

handler404 = "longboard.api.missing.not_found"

urlpatterns = [
    path("", include("longboard.boards.urls")),
    path("", include("longboard.checkpoints.urls")),
    path("", include("longboard.registry.urls")),
    path("", include("longboard.fleet.urls")),
    path("", include("longboard.submissions.urls")),
    path("", include("longboard.reports.urls")),
    path("", include("longboard.literature.urls")),
    path("accounts/webhooks/", include("longboard.webhooks.urls")),
    path("accounts/", include("longboard.accounts.urls")),
    path("api/", include("longboard.api.urls")),
    path("admin/", admin.site.urls),
]
