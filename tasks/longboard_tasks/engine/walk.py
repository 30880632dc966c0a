"""Evaluating a trie: depth first, each node read once, the state put back where paths part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.errors import NonFiniteLogits
from longboard_tasks.engine.graph import decoding
from longboard_tasks.engine.methods import Method
from longboard_tasks.engine.reader import Reader
from longboard_tasks.engine.stream import Stream, count_bytes, fork, held_tokens, join, restore, take_snapshot
from longboard_tasks.engine.trie import Ask, Node


@dataclass(slots=True)
class Answer:
    """What came of an Ask. `logprob` is in nats, summed in fp64 over fp32 log-softmax values; `tokens` were decoded."""

    logprob: float = 0.0
    is_greedy: bool = True
    tokens: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Walk:
    """One evaluation of one trie.

    share       False: nothing is reused; every prompt is read from its first token, with the same calls and shapes
    on_logits   sees (ask index, logits [V]) at every answer position; for tests
    tokens      counts the tokens that went through the model
    stages      the most cache and state bytes held: after the context, after the Method, and at the end of decoding
    """

    reader: Reader
    asks: Sequence[Ask]
    share: bool = True
    method: Method | None = None
    on_logits: Callable[[int, Tensor], None] | None = None
    tokens: int = 0
    stages: dict[str, int] = field(default_factory=dict)

    def run(self, root: Node) -> Iterator[tuple[int, Answer]]:
        """Yields (index, answer) as the batches finish, in an order that only the trie decides."""
        yield from self._visit(root, None, [root], self._reserve(root))

    def _visit(self, node: Node, stream: Stream | None, path: list[Node], room: int) -> Iterator[tuple[int, Answer]]:
        """`room`: tokens that the stream of this branch reserves. Alone or shared, prompts are read in buffers of one shape:
        a kernel may be chosen by the strides of its input."""
        if self.share:
            stream = stream or self._open(room)
            self._descend(stream, node)
        # The largest subtree last: until then the state stays at the branch, and only one snapshot a level is alive.
        children = sorted(node.children, key=lambda child: child.size)
        groups = [(batch, self._finish) for batch in node.batches] + [(pack, self._finish_pack) for pack in node.packs]
        jobs = len(groups) + len(children)
        snapshot = take_snapshot(stream) if self.share and stream is not None and jobs > 1 else None
        for number, (group, finish) in enumerate(groups):
            if number and snapshot is not None and stream is not None:
                restore(stream, snapshot)
            yield from finish(group, node, stream, path, room)
        for number, child in enumerate(children, start=len(groups)):
            if number and snapshot is not None and stream is not None:
                restore(stream, snapshot)
            if self.reader.mode != "shared" and child.start == 0:
                yield from self._visit(child, None, [*path, child], self._reserve(child))
            else:
                yield from self._visit(child, stream, [*path, child], room)

    def _finish(
        self, batch: list[int], node: Node, stream: Stream | None, path: list[Node], room: int
    ) -> Iterator[tuple[int, Answer]]:
        """Read the tails of one batch, score or decode, and yield."""
        longest = max(len(self.asks[i].ids) + self.asks[i].new_tokens for i in batch)
        if self.share and stream is not None:
            rows = stream if len(batch) == 1 else fork(stream, len(batch), reserve=longest)
        else:
            alone = [self._read_path(path, index, room) for index in batch]
            rows = alone[0] if len(alone) == 1 else join(alone, reserve=longest)
        answers = self._read_tails(batch, node, rows)
        yield from zip(batch, answers, strict=True)

    def _finish_pack(
        self, pack: list[int], node: Node, stream: Stream | None, path: list[Node], room: int
    ) -> Iterator[tuple[int, Answer]]:
        """The same for a pack. Alone, each prompt reads its own trunk and then the whole pack, for its own answer only: the
        shapes are those of the shared run, and nothing that another prompt left is used."""
        if self.share and stream is not None:
            yield from zip(pack, self._read_pack(pack, node, stream, set(range(len(pack)))), strict=True)
            return
        for row, index in enumerate(pack):
            answers = self._read_pack(pack, node, self._read_path(path, index, room), {row})
            yield index, answers[row]

    def _read_pack(self, pack: list[int], node: Node, stream: Stream, wanted: set[int]) -> list[Answer]:
        """Read all tails of the pack after the trunk, score or decode. Logits are shown only for the rows in `wanted`."""
        asks = [self.asks[i] for i in pack]
        answers = [Answer() for _ in pack]
        tails = [list(ask.ids[node.end :]) for ask in asks]
        trunk, device = held_tokens(stream), self.reader.device
        # Which prompt a token after the trunk belongs to, and its place in the text.
        owner = self._tensor([row for row, tail in enumerate(tails) for _ in tail])
        positions = self._tensor([stream.position + at for tail in tails for at in range(len(tail))])
        ends = list(accumulate(map(len, tails)))
        keep = [at for end, ask in zip(ends, asks, strict=True) for at in range(end - max(len(ask.targets), 1), end)]
        own = (owner[:, None] == owner[None, :]).tril()
        mask = torch.cat([torch.ones(len(owner), trunk, dtype=torch.bool, device=device), own], dim=1)
        ids = self._tensor([[token for tail in tails for token in tail]])
        logits = self.reader.read_packed(stream, ids, positions, mask, self._tensor(keep))
        self.tokens += len(owner)
        self._check_finite(logits, len(asks[0].ids))
        pieces = logits.split([max(len(ask.targets), 1) for ask in asks])
        for row, (ask, piece) in enumerate(zip(asks, pieces, strict=True)):
            if ask.targets:
                total, answers[row].is_greedy = score(piece, self._tensor(list(ask.targets)))
                answers[row].logprob = float(total)
                if self.on_logits and row in wanted:
                    for position in piece:
                        self.on_logits(pack[row], position)
        if asks[0].new_tokens:
            last = torch.stack([piece[-1] for piece in pieces])

            def read_next(chosen: list[int], step: int) -> Tensor:
                nonlocal owner
                rows = torch.arange(len(pack), device=device)
                owner = torch.cat([owner, rows])
                sees = torch.cat(
                    [torch.ones(len(pack), trunk, dtype=torch.bool, device=device), rows[:, None] == owner], dim=1
                )
                places = self._tensor([len(ask.ids) + step for ask in asks])
                return self.reader.read_packed(stream, self._tensor([chosen]), places, sees, rows)

            self._decode(pack, asks, answers, last, read_next, wanted)
        self._note("decoded", stream)
        return answers

    def _read_path(self, path: list[Node], index: int, room: int) -> Stream:
        """The nodes of `path` read for one ask alone."""
        stream = self._open(room)
        for node in path:
            self._descend(stream, node, instead=index)
        return stream

    def _read_tails(self, batch: list[int], node: Node, stream: Stream) -> list[Answer]:
        asks = [self.asks[i] for i in batch]
        answers = [Answer() for _ in batch]
        tails = self._tensor([list(ask.ids[node.end :]) for ask in asks])
        keep = max(max(len(ask.targets) for ask in asks), 1)
        length = len(asks[0].ids)
        at = length - keep  # the position whose logits come next
        totals = [torch.zeros((), dtype=torch.float64) for _ in batch]
        last = torch.empty(0)
        for piece in self.reader.read_span(stream, tails, keep):
            for row, ask in enumerate(asks):
                begin = max(0, length - len(ask.targets) - at)
                if begin < piece.shape[1] and ask.targets:
                    first = at + begin - (length - len(ask.targets))
                    part = piece[row, begin:]
                    total, greedy = score(part, self._tensor(list(ask.targets[first : first + part.shape[0]])))
                    totals[row] = totals[row] + total
                    answers[row].is_greedy &= greedy
                    if self.on_logits:
                        for position in part:
                            self.on_logits(batch[row], position)
            at += piece.shape[1]
            last = piece[:, -1]
        self.tokens += tails.numel()
        for row, answer in enumerate(answers):
            answer.logprob = float(totals[row])
        self._check_finite(last, length)
        if asks[0].new_tokens:
            most = 0 if self.method else max(ask.new_tokens for ask in asks)  # a Method looks after every step
            with decoding(self.reader, stream, most) as by_graph:
                read_next = by_graph or self._reading_on(stream, asks)
                self._decode(batch, asks, answers, last, read_next, set(range(len(batch))))
        self._note("decoded", stream)
        return answers

    def _decode(
        self, group: list[int], asks: list[Ask], answers: list[Answer], logits: Tensor,
        read_next: Callable[[list[int], int], Tensor], wanted: set[int],
    ) -> None:  # fmt: skip
        """Greedy. A row that is done goes on being fed until the last one is: the batch keeps its shape, so its bits.

        logits [rows, V] follow the prompts; `read_next(tokens, step)` gives those after one more token of every row.
        """
        most, open_rows = max(ask.new_tokens for ask in asks), set(range(len(asks)))
        for step in range(most):
            chosen = logits.float().argmax(dim=-1).tolist()
            for row in sorted(open_rows):
                if self.on_logits and row in wanted:
                    self.on_logits(group[row], logits[row])
                tokens, ask = answers[row].tokens, asks[row]
                tokens.append(chosen[row])
                if len(tokens) >= ask.new_tokens or (ask.is_done is not None and ask.is_done(tokens)):
                    open_rows.discard(row)
            if not open_rows or step + 1 == most:
                return
            logits = read_next(chosen, step)
            self.tokens += len(asks)

    def _reading_on(self, stream: Stream, asks: list[Ask]) -> Callable[[list[int], int], Tensor]:
        """How a batch goes on by one token a row. Where nothing may be continued, everything is read again."""
        if self.reader.mode == "off":
            ids = [list(ask.ids) for ask in asks]

            def read_again(chosen: list[int], step: int) -> Tensor:
                for row, token in zip(ids, chosen, strict=True):
                    row.append(token)
                self.tokens += sum(map(len, ids)) - len(ids)
                return self.reader.read(self.reader.open(), self._tensor(ids), 1)[:, -1]

            return read_again

        def read_next(chosen: list[int], step: int) -> Tensor:
            logits = self.reader.read(stream, self._tensor([[token] for token in chosen]), 1)[:, -1]
            if self.method:
                self.method.after_step(stream)
            return logits

        return read_next

    def _check_finite(self, logits: Tensor, length: int) -> None:
        # Through the extremes, which carry a NaN along: isfinite on the logits would be a second copy of them.
        if not (torch.isfinite(logits.amax(-1)) & torch.isfinite(logits.amin(-1))).all():
            raise NonFiniteLogits(
                f"The model gave NaN or infinity at the end of a prompt of {length} tokens. In half precision this is usually "
                "overflow: try bfloat16 or float32."
            )

    def _descend(self, stream: Stream, node: Node, *, instead: int | None = None) -> None:
        """Read the node's own span into `stream`. `instead`: take the tokens of this ask, which are the same ones."""
        if node.end > node.start:
            ids = self.asks[node.first if instead is None else instead].ids[node.start : node.end]
            self.reader.read_last(stream, self._tensor([list(ids)]))
            self.tokens += len(ids)
            self._note("context", stream)
        if node.compress and self.method:
            self.method.after_context(stream)
            self._note("compressed", stream)

    def _open(self, reserve: int) -> Stream:
        stream = self.reader.open(reserve)
        if self.method:
            self.method.prepare(stream)
        return stream

    def _reserve(self, node: Node) -> int:
        below = [len(self.asks[i].ids) + self.asks[i].new_tokens for batch in node.batches for i in batch]
        for pack in node.packs:  # one row holds all its tails
            below.append(node.end + sum(len(self.asks[i].ids) - node.end + self.asks[i].new_tokens for i in pack))
        return max([*below, *(self._reserve(child) for child in node.children)], default=0)

    def _note(self, stage: str, stream: Stream) -> None:
        held = sum(count_bytes(stream).values())
        self.stages[stage] = max(self.stages.get(stage, 0), held)

    def _tensor(self, ids: Any) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.reader.device)


def score(logits: Tensor, targets: Tensor) -> tuple[Tensor, bool]:
    """(log-probability of `targets` [T] under `logits` [T, V], were all of them the argmax?).

    fp32 log-softmax whatever the model's dtype, 64 positions at a time, summed in fp64 on the host: in bf16 the sum over
    10,000 tokens would be off by 1e-3 relative.
    """
    total, greedy = torch.zeros((), dtype=torch.float64), True
    for part, wanted in zip(logits.split(64), targets.split(64), strict=True):
        row = part.float()
        picked = row.gather(-1, wanted[:, None])[:, 0] - row.logsumexp(-1)
        total = total + picked.cpu().double().sum()
        greedy = greedy and bool((row.argmax(-1) == wanted).all())
    return total, greedy
