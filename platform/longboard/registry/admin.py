from __future__ import annotations

from django.contrib import admin

from longboard.admin_base import ReadMostly
from longboard.registry.models import Method, Model, Suite, System


@admin.register(Model)
class ModelAdmin(ReadMostly):
    list_display = ("slug", "title", "source", "family", "parameters", "max_positions")
    list_filter = ("source", "family")
    search_fields = ("slug", "title", "ref")
    editable = ("title", "family", "licence", "summary", "parameters", "trained_length", "max_positions")


@admin.register(Method)
class MethodAdmin(ReadMostly):
    list_display = ("name", "title", "family", "takes_budget")


@admin.register(System)
class SystemAdmin(ReadMostly):
    list_display = ("slug", "model", "method", "budget", "dtype", "kernels")
    list_select_related = ("model", "method")
    search_fields = ("slug", "digest")


@admin.register(Suite)
class SuiteAdmin(ReadMostly):
    list_display = ("name", "version", "title", "kind", "is_current")
