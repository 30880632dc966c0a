from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from longboard.admin_base import ReadMostly
from longboard.errors import LongboardError
from longboard.fleet import services
from longboard.fleet.models import EnrolmentCode, Hardware, Node, Pool


class Editable(ReadMostly):
    """Staff set up hardware and pools by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["slug"] if obj else []


@admin.register(Hardware)
class HardwareAdmin(Editable):
    list_display = ("slug", "title", "kind", "memory_bytes", "usd_per_hour", "price_source", "price_day")


@admin.register(Pool)
class PoolAdmin(Editable):
    list_display = ("slug", "title", "hardware", "owner", "is_first_party", "accepts_public_runs")
    list_select_related = ("hardware", "owner")
    raw_id_fields = ("owner",)


@admin.register(EnrolmentCode)
class EnrolmentCodeAdmin(ReadMostly):
    list_display = ("pool", "created_by", "created_at", "expires_at", "used_at")
    list_select_related = ("pool", "created_by")
    exclude = ("digest",)


@admin.register(Node)
class NodeAdmin(ReadMostly):
    list_display = ("name", "pool", "owner", "state", "last_seen_at")
    list_select_related = ("pool", "owner")
    list_filter = ("state", "pool")
    actions = ("pause", "resume", "revoke")

    @admin.action(description="Pause")
    def pause(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._set(request, nodes, Node.State.PAUSED)

    @admin.action(description="Resume")
    def resume(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._set(request, nodes, Node.State.ACTIVE)

    @admin.action(description="Revoke, for good")
    def revoke(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._set(request, nodes, Node.State.REVOKED)

    def _set(self, request: HttpRequest, nodes: QuerySet[Node], state: str) -> None:
        for node in nodes:
            try:
                services.set_node_state(node=node, state=state, actor=request.user)  # type: ignore[arg-type]  # signed in
            except LongboardError as error:
                self.message_user(request, error.message, level=messages.ERROR)
