from __future__ import annotations

from django.contrib import admin

from longboard.admin_base import ReadMostly
from longboard.results.models import Bundle, Measurement, Sample


@admin.register(Bundle)
class BundleAdmin(ReadMostly):
    list_display = ("digest", "node", "state", "received_at")
    list_select_related = ("node",)
    list_filter = ("state",)
    exclude = ("payload_gz",)


@admin.register(Measurement)
class MeasurementAdmin(ReadMostly):
    list_display = ("system", "suite", "task", "metric", "context_length", "depth", "value", "n", "trust")
    list_select_related = ("system__model", "system__method", "suite")
    list_filter = ("suite", "metric", "trust")


@admin.register(Sample)
class SampleAdmin(ReadMostly):
    list_display = ("run_id", "task", "index", "depth", "score", "truncated")
