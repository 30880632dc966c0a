"""Hardware pages, and how to attach a node."""

from __future__ import annotations

import importlib.metadata
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from longboard.errors import LongboardError
from longboard.fleet import queries, services
from longboard.fleet.models import Node, Pool


@require_safe
def hardware_list(request: HttpRequest) -> HttpResponse:
    return render(request, "fleet/hardware_list.html", {"hardware": queries.hardware_lines(timezone.now())})


@require_safe
def hardware(request: HttpRequest, slug: str) -> HttpResponse:
    page = queries.hardware_page(slug, request.user, timezone.now())
    if page is None:
        raise Http404(f'There is no hardware "{slug}". The hardware page lists what there is.')
    return render(request, "fleet/hardware.html", {"page": page})


@require_safe
def nodes(request: HttpRequest) -> HttpResponse:
    """How to attach a node, with the commands for this very site."""
    return _nodes_page(request)


@require_safe
def node(request: HttpRequest, node_id: UUID) -> HttpResponse:
    page = queries.node_page(node_id, request.user, timezone.now())
    if page is None:
        raise Http404("There is no such node. The nodes page lists what there is.")
    response = render(request, "fleet/node.html", {"page": page})
    response["Cache-Control"] = "private, no-cache"
    return response


@login_required
@require_POST
def node_state(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """Approve, pause, drain, resume, revoke, or end its tokens."""
    row = get_object_or_404(Node.objects.select_related("pool"), pk=node_id)
    wanted = request.POST.get("state", "")
    try:
        if wanted == "end-tokens":
            services.end_tokens(node=row, actor=request.user)  # type: ignore[arg-type]  # signed in
            messages.success(request, "Its tokens have ended; with its key it gets new ones.")
        else:
            services.set_node_state(node=row, state=wanted, actor=request.user)  # type: ignore[arg-type]  # signed in
            messages.success(request, f"The node is {row.get_state_display()}.")
    except LongboardError as error:
        messages.error(request, error.message)
    return redirect("node", row.pk)


@login_required
@require_POST
@never_cache
def enrol(request: HttpRequest, slug: str) -> HttpResponse:
    """Makes an enrolment code. It is in this answer and nowhere else, so no redirect follows."""
    pool = get_object_or_404(Pool, slug=slug)
    try:
        code = services.make_enrolment_code(
            pool=pool,
            actor=request.user,  # type: ignore[arg-type]  # signed in
            now=timezone.now(),
            needs_approval=bool(request.POST.get("needs_approval")),
        )
    except LongboardError as error:
        messages.error(request, error.message)
        return redirect("nodes")
    return _nodes_page(request, code=code, pool=pool)


def _nodes_page(request: HttpRequest, *, code: str = "", pool: Pool | None = None) -> HttpResponse:
    pools = queries.pool_lines(Pool.objects.all(), request.user, timezone.now())
    context = {
        "site_url": settings.SITE_URL,
        "version": importlib.metadata.version("longboard"),
        "pools": pools,
        "code": code,
        "code_pool": pool,
    }
    return render(request, "fleet/nodes.html", context)
