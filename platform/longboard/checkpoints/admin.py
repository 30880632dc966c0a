from __future__ import annotations

from django.contrib import admin

from longboard.admin_base import ReadMostly
from longboard.checkpoints.models import Checkpoint


@admin.register(Checkpoint)
class CheckpointAdmin(ReadMostly):
    list_display = ("id", "owner", "title", "state", "size", "touched_at")
    list_select_related = ("owner",)
    list_filter = ("state",)
