"""The child's output on its way to the site: a head and a tail in bounded memory, whatever the child prints."""

from __future__ import annotations

import codecs
import hashlib
import threading
from collections import deque
from dataclasses import dataclass

HEAD_CHARS = 16_000  # the site keeps as much of the beginning
TAIL_CHARS = 150_000  # pending text; the site keeps 120,000 at the end


@dataclass(frozen=True, slots=True)
class LogText:
    """New text; `dropped` characters fell out of it, after the log's head and before the rest."""

    text: str
    dropped: int


class LogBuffer:
    """`add` from the reading thread, `take` from the beating one. `most_bytes`: what beats carry in all before the end."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._digest = hashlib.sha256()
        self._returned = ""  # could not be delivered
        self._head = ""  # pending text of the very beginning
        self._head_room = HEAD_CHARS
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._dropped = 0
        self._carried = 0

    def add(self, raw: bytes) -> None:
        with self._lock:
            self._digest.update(raw)
            text = self._decoder.decode(raw)
            if self._head_room:
                self._head += text[: self._head_room]
                text, self._head_room = text[self._head_room :], max(0, self._head_room - len(text))
            self._push(text)

    def _push(self, text: str) -> None:
        if not text:
            return
        self._tail.append(text)
        self._tail_chars += len(text)
        # Whole pieces go: a flood costs no copying.
        while self._tail_chars - len(self._tail[0]) >= TAIL_CHARS:
            gone = self._tail.popleft()
            self._tail_chars -= len(gone)
            self._dropped += len(gone)

    def has_news(self) -> bool:
        with self._lock:
            return bool(self._returned or self._head or self._tail) and self._carried < self.most_bytes

    def take(self, *, is_last: bool = False) -> LogText:
        """Text since the last call. Nothing once the cap is reached, until the last call, which brings the end."""
        with self._lock:
            if self._carried >= self.most_bytes and not is_last:
                return LogText("", 0)
            tail = "".join(self._tail)
            excess = max(0, len(tail) - TAIL_CHARS)
            text = LogText(self._returned + self._head + tail[excess:], self._dropped + excess)
            self._returned = self._head = ""
            self._dropped = self._tail_chars = 0
            self._tail.clear()
            self._carried += len(text.text)
            return text

    def give_back(self, text: LogText) -> None:
        """Puts text back in front that a failed call could not deliver; of a long silence the latest of it stays."""
        with self._lock:
            whole = text.text + self._returned
            self._returned = whole[-(HEAD_CHARS + TAIL_CHARS) :]
            self._dropped += text.dropped + len(whole) - len(self._returned)
            self._carried -= len(text.text)

    def digest(self) -> str:
        with self._lock:
            return self._digest.hexdigest()
