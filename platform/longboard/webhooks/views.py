"""A person's webhooks: the list with its latest deliveries, a new one, deletion."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from longboard.accounts.models import User
from longboard.errors import LongboardError
from longboard.form_errors import show_on
from longboard.webhooks import services
from longboard.webhooks.forms import WebhookForm
from longboard.webhooks.models import Delivery, Webhook


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def webhooks(request: HttpRequest) -> HttpResponse:
    """The list, and a new one: its secret is in this answer and nowhere else, so no redirect follows."""
    user, secret = cast(User, request.user), ""
    form = WebhookForm(request.POST or None, label_suffix="")
    if request.method == "POST" and form.is_valid():
        try:
            secret = services.make_webhook(user=user, url=form.cleaned_data["url"].strip(), now=timezone.now()).secret
            form = WebhookForm(label_suffix="")
        except LongboardError as error:
            show_on(form, error)
    context = {
        "form": form,
        "secret": secret,
        "webhooks": user.webhooks.all(),
        "deliveries": Delivery.objects.filter(webhook__user=user).select_related("webhook")[:20],
    }
    return render(request, "webhooks/webhooks.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def delete(request: HttpRequest, webhook_id: int) -> HttpResponse:
    webhook = get_object_or_404(Webhook, pk=webhook_id, user=cast(User, request.user))
    services.delete_webhook(webhook=webhook)
    messages.success(request, "The webhook is gone; nothing more is sent there.")
    return redirect("webhooks")
