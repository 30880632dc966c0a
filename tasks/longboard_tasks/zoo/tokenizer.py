"""The zoo's tokenizer: byte-level BPE, 4,096 tokens, every digit a token of its own.

Run `python -m longboard_tasks.zoo.tokenizer` to train it again; the result ships in `weights/tokenizer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from longboard_tasks.zoo.prose import training_prose
from longboard_tasks.zoo.registry import WEIGHTS

VOCABULARY = 4_096
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"  # ids 0, 1, 2
FOLDER = WEIGHTS / "tokenizer"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE after Radford et al. 2019 (GPT-2). We differ: digits are split one by one, so a number of 7 digits
    is always 7 tokens, and a space before it is a token too.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    # Models are trained on sequences that start with bos, so a prompt gets one unless special tokens are turned off.
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bpe.token_to_id(BOS))])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path = FOLDER) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(folder)


if __name__ == "__main__":
    train_tokenizer(training_prose()).save_pretrained(FOLDER)
