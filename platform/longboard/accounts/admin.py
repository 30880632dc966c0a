from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from longboard.accounts.models import ApiToken, User
from longboard.admin_base import ReadMostly

admin.site.register(User, UserAdmin)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadMostly):
    list_display = ("name", "user", "scope", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    exclude = ("digest",)
