"""What is in an uploaded file, without loading it: a safetensors header held against its file, JSON that runs nothing.

A header may lie: about its own length, about shapes, about where tensors begin. Each claim is checked, as the format's own
reader does (safetensors 0.8, `validate`): offsets start at 0, leave no hole, share no byte, and end with the file.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longboard.errors import BadRequest

MAX_HEADER_BYTES = 25 * 2**20
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
# Files that could be unpacked, or run, whatever their name says.
MAGIC = {
    b"PK\x03\x04": "ZIP archive", b"\x1f\x8b": "gzip archive", b"BZh": "bzip2 archive", b"\xfd7zXZ": "xz archive",
    b"7z\xbc\xaf": "7z archive", b"\x28\xb5\x2f\xfd": "zstd archive", b"Rar!": "RAR archive", b"\x7fELF": "program",
    b"\x80\x02": "pickle", b"\x80\x03": "pickle", b"\x80\x04": "pickle", b"\x80\x05": "pickle", b"#!": "script",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    tensors: frozenset[str]
    elements: int  # numbers in all tensors: the parameters, as far as a file tells


def read_header(path: Path, name: str) -> Header:
    """Raises BadRequest that says which claim of the header is false. Reads the header alone, at most MAX_HEADER_BYTES."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _bad(name, f"it has {size} bytes, and a safetensors file has at least 8")
        (length,) = struct.unpack("<Q", start)
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise _bad(
                name, f"its header claims {length} bytes; 2 to {min(MAX_HEADER_BYTES, max(0, size - 8))} are possible"
            )
        text = file.read(length)
    if text[:1] != b"{":
        raise _bad(name, "its header is no JSON object")
    header = _parse(text, name)
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise _bad(name, f"it has {len(header)} tensors; {MAX_TENSORS} are the most")
    spans, elements = [], 0
    for tensor, about in header.items():
        count, begin, end = _span(name, tensor, about)
        spans.append((begin, end, tensor))
        elements += count
    at = 0
    for begin, end, tensor in sorted(spans):
        if begin != at:
            raise _bad(
                name,
                f'tensor "{tensor[:80]}" begins at byte {begin}, and byte {at} is next: bytes are shared or unused',
            )
        at = end
    if at != size - 8 - length:
        raise _bad(name, f"its tensors end at byte {at}, and there are {size - 8 - length}")
    return Header(frozenset(header), elements)


def _span(name: str, tensor: str, about: Any) -> tuple[int, int, int]:
    """(elements, begin, end) of one tensor."""
    if not isinstance(about, dict) or set(about) != {"dtype", "shape", "data_offsets"}:
        raise _bad(name, f'tensor "{tensor[:80]}" needs dtype, shape and data_offsets')
    dtype, shape, offsets = about["dtype"], about["shape"], about["data_offsets"]
    if dtype not in BITS:
        raise _bad(name, f'tensor "{tensor[:80]}" has the unknown type {str(dtype)[:20]!r}')
    if not _is_whole(shape) or len(shape) > MAX_DIMENSIONS:
        raise _bad(name, f'tensor "{tensor[:80]}" has a shape that is none')
    if not _is_whole(offsets) or len(offsets) != 2:
        raise _bad(name, f'tensor "{tensor[:80]}" has offsets that are none')
    count = math.prod(shape)
    if offsets[1] - offsets[0] != count * BITS[dtype] // 8:
        raise _bad(name, f'tensor "{tensor[:80]}" of shape {shape} takes another number of bytes than its offsets say')
    return count, offsets[0], offsets[1]


def _is_whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**53 for value in values)


def check_json(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file. Raises BadRequest for one that is none, or that would have the loader run or fetch code."""
    found = _parse(path.read_bytes(), name)
    _check_settings(found, name)
    return found


def _check_settings(found: dict[str, Any], name: str) -> None:
    if name not in ("config.json", "tokenizer_config.json", "generation_config.json"):
        return
    for key in ("auto_map", "custom_pipelines", "trust_remote_code"):
        if key in found:
            raise _bad(name, f'"{key}" would have the loader run Python that came with the weights')
    for key, value in found.items():
        if key.endswith("attn_implementation") or key.endswith("attn_implementation_internal") or key == "use_kernels":
            raise _bad(name, f"\"{key}\" chooses code to run, which is the runtime's part, not the model's")
        if isinstance(value, dict):
            _check_settings(value, name)


def check_plain(path: Path, name: str) -> None:
    """Raises BadRequest for a file that is an archive, a pickle or a program under another name."""
    with path.open("rb") as file:
        start = file.read(300)
    kind = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), "")
    if start[257:262] == b"ustar":
        kind = "tar archive"
    if kind:
        raise _bad(name, f"it is a {kind}, and none is taken")


def _parse(text: bytes, name: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name is there twice")
        return found

    try:
        found = json.loads(text.decode(), object_pairs_hook=once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(name, f"it is no JSON that can be read: {str(error)[:120]}") from error
    if not isinstance(found, dict):
        raise _bad(name, "it is no JSON object")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _bad(name: str, why: str) -> BadRequest:
    return BadRequest(f"{name}: {why}.", field=f"files/{name}")
