"""What an upload announces: the files with their sizes, before the first byte of them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from longboard.reports.requests import Line
from longboard_tasks.contract import Sha256, Spec

MAX_BYTES = 4 * 2**30
MAX_FILES = 120
MAX_JSON_BYTES = 64 * 2**20
MAX_CONFIG_BYTES = 2**20

WEIGHTS = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors")
JSON_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "model.safetensors.index.json",
)  # fmt: skip
OTHER_FILES = ("merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja")


def is_weights(name: str) -> bool:
    return WEIGHTS.fullmatch(name) is not None


class FileIn(Spec):
    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    size: Annotated[int, Field(ge=1, le=MAX_BYTES)]
    sha256: Sha256 | None = None  # of the whole file; checked at the end when it is given

    @model_validator(mode="after")
    def _is_one_of_ours(self) -> FileIn:
        if not (is_weights(self.name) or self.name in JSON_FILES or self.name in OTHER_FILES):
            raise ValueError(
                f"{self.name[:80]!r} is not taken: a checkpoint is model.safetensors (or model-00001-of-0000N.safetensors) with "
                f"{', '.join(JSON_FILES + OTHER_FILES)}. No archive, no pickle, no Python, no folder."
            )
        most = MAX_CONFIG_BYTES if self.name == "config.json" else MAX_JSON_BYTES
        if not is_weights(self.name) and self.size > most:
            raise ValueError(f"{self.name} has at most {most} bytes, not {self.size}.")
        return self


class CheckpointRequest(Spec):
    title: Annotated[Line, Field(min_length=1, max_length=160)]
    licence: Annotated[Line, Field(max_length=80)] = ""
    files: Annotated[tuple[FileIn, ...], Field(min_length=2, max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _is_a_model(self) -> CheckpointRequest:
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("A file is there twice.")
        if "config.json" not in names:
            raise ValueError("config.json is missing: it says what the model is.")
        weights = [name for name in names if is_weights(name)]
        if not weights:
            raise ValueError("There are no weights: model.safetensors is missing.")
        if "model.safetensors" in weights and len(weights) > 1:
            raise ValueError("Give model.safetensors or its parts, not both.")
        if (total := sum(file.size for file in self.files)) > MAX_BYTES:
            raise ValueError(f"A checkpoint has at most {MAX_BYTES} bytes, not {total}. Larger ones go by a hub.")
        return self
