"""The upload form."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from pydantic import ValidationError

from longboard.accounts.models import User
from longboard.checkpoints import services
from longboard.checkpoints.forms import CheckpointForm
from longboard.checkpoints.models import Checkpoint
from longboard.errors import LongboardError
from longboard.form_errors import show_on
from longboard.registry.models import Model
from longboard_tasks.contract import sha256


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def upload_model(request: HttpRequest) -> HttpResponse:
    """Whole files by plain form. A refused upload leaves nothing behind."""
    user = cast(User, request.user)
    form = CheckpointForm(request.POST or None, request.FILES or None, label_suffix="")
    if request.method == "POST" and form.is_valid():
        try:
            return redirect("model", _take(user, form).slug)
        except LongboardError as error:
            if error.field.startswith("files"):
                error.field = "chosen"
            show_on(form, error)
        except ValidationError as error:
            form.add_error("chosen", error.errors()[0]["msg"])
    open_ones = Checkpoint.objects.filter(owner=user, state=Checkpoint.State.OPEN)
    context = {"form": form, "open": open_ones, "piece": services.MAX_CHUNK_BYTES // 2}
    return render(request, "checkpoints/upload.html", context, status=422 if form.errors else 200)


def _take(user: User, form: CheckpointForm) -> Model:
    """The same way as pieces: announced, put, looked into."""
    now = timezone.now()
    checkpoint, _ = services.announce(owner=user, request=form.as_request(), now=now)
    try:
        for file in cast(list[UploadedFile], form.cleaned_data["chosen"]):
            offset = 0
            for piece in file.chunks(services.MAX_CHUNK_BYTES):
                services.put_piece(
                    checkpoint=checkpoint,
                    name=file.name or "",
                    offset=offset,
                    content=piece,
                    digest=sha256(piece),
                    now=now,
                )
                offset += len(piece)
        return services.complete(checkpoint=checkpoint, now=now)
    except LongboardError:
        services.drop(checkpoint=checkpoint, actor=user)
        raise
