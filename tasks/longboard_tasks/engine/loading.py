"""From a SystemSpec to a model in memory: pinned, from safetensors only, never running code that came with the weights."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from longboard_tasks.contract import ModelRef, SystemSpec
from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.chunk_attention import use_chunk_attention
from longboard_tasks.engine.errors import ModelLoadError, PositionLimitError, UnsafeWeights
from longboard_tasks.engine.shapes import SHAPES, build_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
POSITION_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: Any
    tokenizer: Any
    weights_sha256: dict[str, str]  # by file name; empty for random weights
    tokenizer_sha256: str | None
    max_positions: int | None  # None: the architecture has no such number

    @property
    def architecture(self) -> str:
        return type(self.model).__name__

    @property
    def parameters(self) -> int:
        """Tied weights are counted once."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def weights_bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_system(system: SystemSpec, *, models_dir: Path | None = None, device: str | None = None) -> LoadedModel:
    """Load the model of a System onto `device` (default: CUDA when there is one, else the CPU), in its dtype, in eval mode.

    Raises ModelLoadError when weights or tokenizer are missing or broken, UnsafeWeights when they could run code.
    """
    quiet_transformers()
    _fix_kernels()
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    options: dict[str, Any] = {"dtype": DTYPES[system.runtime.dtype]}
    if system.runtime.attention == "eager":
        options["attn_implementation"] = "eager"  # sdpa is what transformers takes by itself wherever a model has it
    reference = system.model
    folder = find_folder(reference, models_dir)
    if folder is not None:
        return _load_folder(folder, options, place)
    if reference.source == "config":
        return _load_random(reference.id, options, place)
    return _load_hub(reference, options, place)


def find_folder(reference: ModelRef, models_dir: Path | None) -> Path | None:
    """The folder with the weights, for sources that have one on this machine; None for a hub id or a named configuration."""
    if reference.source == "zoo":
        from longboard_tasks.zoo.registry import ModelMissing, weights_dir

        try:
            return weights_dir(reference.id, models_dir)
        except ModelMissing as error:
            raise ModelLoadError(str(error)) from error
    if reference.source == "upload":
        if models_dir is None:
            raise ModelLoadError(
                f'Model "{reference.id}" is an upload, and this node has no folder for models. Set models_dir.'
            )
        folder = (models_dir / reference.id).resolve()
        if not folder.is_relative_to(models_dir.resolve()) or not (folder / "config.json").is_file():
            raise ModelLoadError(
                f'No uploaded model "{reference.id}" under {models_dir}: it needs config.json and *.safetensors.'
            )
        return folder
    return None


def check_folder(folder: Path) -> list[Path]:
    """The safetensors files of `folder`, sorted. Raises UnsafeWeights for anything that could run code when loaded."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{folder / 'config.json'} cannot be read as JSON: {error}") from error
    if config.get("auto_map"):
        raise UnsafeWeights(
            f"{folder.name}: config.json has an auto_map, so loading it would run Python that came with the weights. "
            "Longboard runs stock transformers classes only: remove auto_map if the class is one of them."
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise UnsafeWeights(
                f"{folder.name} has its weights as {', '.join(pickles[:3])}: a pickle can run code when loaded. "
                "Convert them with model.save_pretrained(folder, safe_serialization=True)."
            )
        raise ModelLoadError(f"{folder} has no *.safetensors file.")
    return weights


def position_limit(config: Any) -> int | None:
    """Tokens that the configuration allows, or None. A state-space model has no such number, and must not inherit 2048."""
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    if getattr(text, "model_type", "") == "rwkv":
        return None  # its context_length sized a training kernel
    for name in POSITION_NAMES:
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def has_position_table(config: Any) -> bool:
    """Learned absolute positions end in an index error; rotary ones go on."""
    return getattr(config, "model_type", "") in ("gpt2", "gpt_neo", "gptj_abs", "opt", "biogpt", "xglm", "gpt_bigcode")


def check_positions(loaded: LoadedModel, *, context_length: int, new_tokens: int) -> None:
    """Raises PositionLimitError when the prompt does not fit the positions (nor the answer, for a learned table)."""
    limit = loaded.max_positions
    needed = context_length + (new_tokens if has_position_table(loaded.model.config) else 0)
    if limit is not None and needed > limit:
        raise PositionLimitError(
            f"The prompt needs {needed} positions (context length {context_length}); {loaded.architecture} has {limit}. "
            f"Ask for a context length of at most {limit - (needed - context_length)}."
        )


def quiet_transformers() -> None:
    """Its notices about missing kernels and generation defaults would drown a node's log."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _fix_kernels() -> None:
    """fp32 means fp32, and equal calls should choose equal kernels.

    PyTorch lets cuDNN round the inputs of fp32 convolutions to TF32 (10 bits): a Mamba's convolution is one. cuDNN's attention
    chooses its plan by the strides of its inputs; the other attention kernels do not look at them.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def is_offline() -> bool:
    return any(
        os.environ.get(name, "") in ("1", "true", "TRUE", "yes") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, remembered for the process while size and time stay."""
    status = path.stat()
    return _hash_file(str(path.resolve()), status.st_size, status.st_mtime_ns)


@cache
def _hash_file(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def hash_tokenizer(tokenizer: Any) -> str:
    """The tokenizer as it works: its own serialised form where it has one, else its vocabulary; and its chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        body = json.loads(backend.to_str())
        body.pop("truncation", None)  # set by use, not by the model
        body.pop("padding", None)
    else:
        body = sorted(tokenizer.get_vocab().items())
    template = getattr(tokenizer, "chat_template", None)
    plain = json.dumps([body, template if isinstance(template, str) else None], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _load_folder(folder: Path, options: dict[str, Any], place: torch.device) -> LoadedModel:
    weights = check_folder(folder)
    # An absolute path: a relative one that looks like "org/name" would be looked up on the hub.
    model, tokenizer = _from_pretrained(str(folder.resolve()), {"local_files_only": True}, options)
    return _wrap(model, tokenizer, place, {path.name: hash_file(path) for path in weights})


def _load_hub(reference: ModelRef, options: dict[str, Any], place: torch.device) -> LoadedModel:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                reference.id,
                revision=reference.revision,
                allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"],
                local_files_only=is_offline(),
            )
        )
    except Exception as error:  # the hub client raises a dozen kinds
        where = "is not in the local cache, and this node is offline" if is_offline() else "could not be fetched"
        raise ModelLoadError(
            f"{reference.id}@{reference.revision[:12]} {where} ({type(error).__name__}: {str(error)[:160]}). "
            "Fetch it on a machine with a network, or upload it as safetensors."
        ) from error
    return _load_folder(folder, options, place)


def _load_random(shape_id: str, options: dict[str, Any], place: torch.device) -> LoadedModel:
    from transformers import AutoModelForCausalLM

    if shape_id not in SHAPES:
        raise ModelLoadError(f'No configuration "{shape_id}". There are: {", ".join(SHAPES)}.')
    torch.manual_seed(0)
    with place:
        model = AutoModelForCausalLM.from_config(build_config(shape_id), **options)
    return _wrap(model, build_byte_tokenizer(), place, {})


def _from_pretrained(folder: str, where: dict[str, Any], options: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe = {"trust_remote_code": False, **where}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **safe, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # whatever a broken folder makes transformers raise
        raise ModelLoadError(f"{folder} cannot be loaded: {type(error).__name__}: {str(error)[:240]}") from error
    return model, tokenizer


def _wrap(model: Any, tokenizer: Any, place: torch.device, digests: dict[str, str]) -> LoadedModel:
    model = model.to(place).eval().requires_grad_(False)
    if place.type == "cuda":
        use_chunk_attention(
            model
        )  # on a CPU a mask costs little, and PyTorch's kernel there takes no other description
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        weights_sha256=digests,
        tokenizer_sha256=hash_tokenizer(tokenizer),
        max_positions=position_limit(model.config),
    )
