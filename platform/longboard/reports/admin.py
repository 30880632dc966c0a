from __future__ import annotations

from django.contrib import admin

from longboard.admin_base import ReadMostly
from longboard.reports.models import Report, ReportedNumber


@admin.register(Report)
class ReportAdmin(ReadMostly):
    list_display = ("pk", "author", "system", "hardware_text", "created_at", "withdrawn_at")
    list_select_related = ("author", "system__model", "system__method")


@admin.register(ReportedNumber)
class ReportedNumberAdmin(ReadMostly):
    list_display = ("report", "suite", "task", "metric", "context_length", "value", "n")
    list_select_related = ("report", "suite")
