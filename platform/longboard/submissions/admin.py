from __future__ import annotations

from django.contrib import admin

from longboard.admin_base import ReadMostly
from longboard.submissions.models import Attempt, Run, Submission


@admin.register(Submission)
class SubmissionAdmin(ReadMostly):
    list_display = ("id", "author", "system", "created_at")
    list_select_related = ("author", "system__model", "system__method")
    search_fields = ("id", "author__username")


@admin.register(Run)
class RunAdmin(ReadMostly):
    list_display = ("id", "suite", "context_length", "system", "pool", "state", "failure_class", "queued_at")
    list_select_related = ("suite", "system__model", "system__method", "pool")
    list_filter = ("state", "failure_class", "pool")
    search_fields = ("id",)
    editable = ("priority",)


@admin.register(Attempt)
class AttemptAdmin(ReadMostly):
    list_display = ("id", "run_id", "number", "node", "leased_at", "closed_as", "failure_class")
    list_select_related = ("node",)
    list_filter = ("closed_as",)
