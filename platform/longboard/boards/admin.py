from __future__ import annotations

from django.contrib import admin

from longboard.admin_base import ReadMostly
from longboard.boards.models import Cell, FrontEntry


@admin.register(Cell)
class CellAdmin(ReadMostly):
    list_display = (
        "system",
        "hardware",
        "suite",
        "task",
        "metric",
        "context_length",
        "value",
        "n",
        "trust",
        "updated_at",
    )
    list_select_related = ("system__model", "system__method", "hardware", "suite")
    list_filter = ("suite", "metric", "hardware")


@admin.register(FrontEntry)
class FrontEntryAdmin(ReadMostly):
    list_display = ("system", "hardware", "suite", "cost_metric", "context_length", "on_front", "probability")
    list_select_related = ("system__model", "system__method", "hardware", "suite")
    list_filter = ("suite", "cost_metric", "hardware")
