"""Static files: hashed names after `collectstatic`, plain ones before it, so that a first start needs no such step."""

from __future__ import annotations

from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]


class StaticFiles(CompressedManifestStaticFilesStorage):
    manifest_strict = False

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        # Django raises for a file that is not in STATIC_ROOT; WhiteNoise still serves it from where it lies.
        if content is None and not self.exists(filename or name):
            return name
        return super().hashed_name(name, content, filename)
