"""A tokenizer for models without one: a token is a byte. Random-weight configurations and tests use it."""

from __future__ import annotations

from typing import Any

VOCABULARY = 259  # 256 bytes, <bos>, <eos>, <pad>


def build_byte_tokenizer() -> Any:
    """A transformers PreTrainedTokenizerFast: ids 0 to 255 are the bytes in order, 256 <bos>, 257 <eos>, 258 <pad>.

    Adds no special tokens by itself, has no chat template, and decodes any ids back to text (broken UTF-8 becomes U+FFFD).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = bytes_to_letters()
    tokenizer = Tokenizer(models.BPE(vocab={letters[byte]: byte for byte in range(256)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


def bytes_to_letters() -> list[str]:
    """The printable letter that byte-level BPE writes for each byte (Radford et al. 2019, GPT-2's encoder)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(printable))
    return [letters[byte] for byte in range(256)]
