"""An uploaded checkpoint on its way from the site to the node that runs it: in pieces, each file held to its digest."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from longboard_tasks.contract import Ticket
from longboard_worker.client import Refused, SiteClient
from longboard_worker.logbuffer import LogText

PIECE_BYTES = 4 * 2**20
BEAT_EVERY_S = 20
# What the site takes; a node checks it again, since a name becomes a path.
NAMES = re.compile(r"[a-z0-9_-]{1,60}(\.[a-z]{1,12}){1,3}")


class RemoteFile(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    size: int
    next_offset: int
    sha256: str


class UploadBroken(Exception):
    """The site's files are not what it says they are; the message names the file."""


def fetch_upload(site: SiteClient, ticket: Ticket, models_dir: Path) -> None:
    """Puts the uploaded model of a run under `models_dir`; does nothing for other models, and when it is there.

    Beats while it loads, so that the lease lives. Files lie in a folder beside it until every digest fits. Raises UploadBroken,
    and what the client raises: Refused, FencedOff, Unreachable.
    """
    model = ticket.run.system.model
    folder = models_dir / model.id
    if model.source != "upload" or (folder / "config.json").is_file():
        return
    try:
        listed = site.upload_files(ticket)
    except Refused as refused:
        if refused.status == 404:
            return  # a model that its operator put here by hand is the loader's to miss
        raise
    try:
        _fetch(site, ticket, [RemoteFile.model_validate(line) for line in listed], folder)
    except OSError as error:
        raise UploadBroken(f"The uploaded model could not be stored: {error.strerror or error}.") from error


def _fetch(site: SiteClient, ticket: Ticket, files: list[RemoteFile], folder: Path) -> None:
    partial, beaten = folder.with_name(f".{folder.name}.part"), time.monotonic()
    partial.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not NAMES.fullmatch(file.name):
            raise UploadBroken(f"The site names a file {file.name[:80]!r}, which is none of a checkpoint.")
        path, digest = partial / file.name, hashlib.sha256()
        with path.open("wb") as out:
            while out.tell() < file.size:
                piece = site.upload_piece(
                    ticket, file.name, offset=out.tell(), length=min(PIECE_BYTES, file.size - out.tell())
                )
                if not piece:
                    break
                out.write(piece)
                digest.update(piece)
                if time.monotonic() - beaten > BEAT_EVERY_S:
                    beaten = time.monotonic()
                    site.beat(ticket, None, LogText("", 0))
        if path.stat().st_size != file.size or digest.hexdigest() != file.sha256:
            shutil.rmtree(partial, ignore_errors=True)
            raise UploadBroken(f"{file.name} of the uploaded model does not fit the digest that the site states.")
    shutil.rmtree(folder, ignore_errors=True)  # without a config.json it was no model
    partial.replace(folder)
