"""The engine: a loaded model, how it may be read, and the schedule that fits the machine. Answers Asks, sharing prefixes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from longboard_tasks.engine.errors import OutOfMemory
from longboard_tasks.engine.loading import LoadedModel
from longboard_tasks.engine.machine import free_bytes
from longboard_tasks.engine.memory_model import MemoryModel, measure_memory
from longboard_tasks.engine.methods import LooksAtModel, Method, is_question_aware
from longboard_tasks.engine.reader import Reader, open_reader
from longboard_tasks.engine.selftest import SelfTest, run_self_test
from longboard_tasks.engine.trie import GRAIN, Ask, Schedule, build_trie, count_tokens
from longboard_tasks.engine.walk import Answer, Walk

log = logging.getLogger(__name__)
MOST_ROWS = 16  # more gain little: a batch of tails is already wide
PACK_TAIL = 256  # tokens; a longer tail fills a pass by itself, and a pack's mask grows with its square
USUAL_TAIL = 128  # tokens
STEP_LIMIT = 64  # tokens; a longer tail is faster to read with its whole prompt than token by token


@dataclass(frozen=True, slots=True)
class Wish:
    """A chunk size in tokens and a number of rows that the caller insists on; 0 lets the memory model choose."""

    chunk: int = 0
    rows: int = 0


@dataclass(slots=True)
class Counters:
    """What the engine did, for the manifest."""

    tokens: int = 0  # through the model
    tokens_alone: int = 0  # what reading every prompt by itself would have taken, decoding aside
    tokens_shared: int = 0  # what the tries took, decoding aside
    oom_backoffs: int = 0
    stages: dict[str, int] = field(default_factory=dict)  # most cache and state bytes held at each stage


@dataclass(slots=True)
class Engine:
    """Answers Asks on one model. `share` False reads every prompt by itself: the same bits, for more time."""

    loaded: LoadedModel
    reader: Reader
    self_test: SelfTest
    schedule: Schedule
    memory: MemoryModel
    method: Method | None = None
    share: bool = True
    wish: Wish = Wish()
    counters: Counters = field(default_factory=Counters)
    on_logits: Callable[[int, Tensor], None] | None = None

    def answer(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Answer]]:
        """Yields (index into `asks`, answer) as batches finish.

        Out of memory is answered by smaller batches, then by smaller chunks, for the asks that are left; finished ones
        stay. Raises OutOfMemory when nothing smaller is left.
        """
        left = list(range(len(asks)))
        while left:
            part = [asks[i] for i in left]
            if is_question_aware(self.method):
                part = [replace(ask, context=0) for ask in part]
            # A Method works on the cache of one prompt, so prompts get rows of their own.
            schedule = replace(self.schedule, pack_tail=0) if self.method else self.schedule
            root = build_trie(part, schedule, compress=bool(self.method and self.method.compresses))
            reader = self.reader.with_(chunk=self.schedule.chunk)
            walk = Walk(reader, part, share=self.share, method=self.method, on_logits=self.on_logits)
            done: set[int] = set()
            try:
                for index, answer in walk.run(root):
                    done.add(index)
                    self.counters.tokens, walk.tokens = self.counters.tokens + walk.tokens, 0
                    yield left[index], answer
                shared, alone = count_tokens(root, part)
                self.counters.tokens_shared += shared
                self.counters.tokens_alone += alone
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.back_off(part, error)
            finally:
                self.counters.tokens += walk.tokens
                for stage, held in walk.stages.items():
                    self.counters.stages[stage] = max(self.counters.stages.get(stage, 0), held)
            left = [index for number, index in enumerate(left) if number not in done]

    def back_off(self, asks: Sequence[Ask], error: Exception) -> None:
        """Halve the batch, then the chunk. The smaller schedule stays: it is what this machine holds."""
        self.counters.oom_backoffs += 1
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        now = self.schedule
        if now.rows > 1:
            self.schedule = replace(now, rows=now.rows // 2)
        elif self.reader.mode == "shared" and now.chunk > 2 * GRAIN:
            self.schedule = replace(now, chunk=now.chunk // 2)
        else:
            longest = max(len(ask.ids) + ask.new_tokens for ask in asks)
            raise OutOfMemory(self.memory.explain(longest, now.chunk, free_bytes(self.loaded.device))) from error
        log.warning("out of memory, smaller schedule", extra={"rows": self.schedule.rows, "chunk": self.schedule.chunk})

    def plan_for(self, longest: int, *, keep: int = 1, memory_limit: int = 0) -> Schedule:
        """Choose chunk and rows for prompts of up to `longest` tokens, answers included, and keep to them.

        Chosen once for a run, never in the middle of it: other shapes are other bits.
        """
        room = free_bytes(self.loaded.device, memory_limit)
        chunk = self.wish.chunk or self.memory.choose_chunk(longest, room, self.loaded.device)
        mode = self.reader.mode
        # Batches are of tails, which are short as a rule; without chunks a tail may be a whole prompt.
        in_one_pass = min(chunk, USUAL_TAIL) if mode == "shared" else longest
        fitting = self.memory.rows_that_fit(longest, min(keep, in_one_pass), in_one_pass, room)
        rows = self.wish.rows or min(MOST_ROWS, fitting)
        self.schedule = Schedule(
            chunk=chunk,
            rows=rows if self.self_test.batches else 1,
            step_limit=STEP_LIMIT if mode == "step" else 0,
            pack_tail=PACK_TAIL if self.self_test.packs else 0,
            flat=mode == "off",
        )
        return self.schedule


def open_engine(
    loaded: LoadedModel,
    *,
    chunk: int = 0,
    rows: int = 0,
    share: bool = True,
    method: Method | None = None,
    longest: int = 8_192,
) -> Engine:
    """Self-test the model, measure what a token costs in memory, and choose the schedule for prompts of `longest` tokens.

    `chunk` and `rows` insist on tokens in a pass and prompts in a batch; 0 lets the memory model choose.
    """
    if chunk % GRAIN:
        raise ValueError(f"chunk={chunk} is not a multiple of {GRAIN} tokens")
    reader = open_reader(loaded.model)
    outcome = run_self_test(reader)
    reader = reader.with_(mode=outcome.mode)
    engine = Engine(
        loaded=loaded,
        reader=reader,
        self_test=outcome,
        schedule=Schedule(),
        memory=measure_memory(reader, loaded.weights_bytes),
        method=method,
        share=share and outcome.mode != "off",
        wish=Wish(chunk, rows),
    )
    engine.plan_for(longest)
    if isinstance(method, LooksAtModel):
        method.attach(loaded.model)
    return engine


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises its own class; the CPU allocator a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("not enough memory" in text or "can't allocate memory" in text)
