"""The admin site looks; services change. What a person may still put right by hand is listed in `editable`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest


class ReadMostly(admin.ModelAdmin):
    """No adding, no deleting: rows of results and runs are history. Counts are left out, they scan whole tables."""

    editable: Sequence[str] = ()
    show_full_result_count = False
    list_per_page = 50

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        hidden = set(self.exclude or ())
        return [f.name for f in self.opts.fields if f.name not in hidden and f.name not in self.editable]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False
