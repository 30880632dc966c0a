"""The filesystem broker with whole messages.

kombu's transport makes a message's file, then writes into it; a reader that comes in between takes an empty file, and a Celery
worker dies of it. Here a message gets its name when it is whole. Only writers need this: readers move a file, then read it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]  # its parents' stubs differ
        """Raises ChannelError where the folder does not take it."""
        path = Path(self.data_folder_out) / f"{round(time.monotonic() * 1_000)}_{uuid4()}.{queue}.msg"
        part = path.with_name(f"{path.name}.part")  # no queue's name ends so
        try:
            part.write_text(dumps(payload))
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ChannelError(f"Cannot add a message to {path.parent}: {error.strerror}.") from error


class Transport(filesystem.Transport):
    Channel = Channel


def install() -> None:
    """From now on `filesystem://` means this transport, in this process."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
