"""Which tokens are read once for many prompts: the trie of a set of prompts. No torch here.

A prompt is a list of token ids. Prompts with the same beginning share a node for it; where they part, the node ends on a
multiple of `grain` tokens (so that twenty questions make one cut and one batch, not a tree of fragments), and the rest of
each prompt is its tail. Short tails are read together: as one pack where all memory is attention (one row, a mask that shows
each tail the trunk and itself), else as a batch of equal lengths, unpadded, for padding would enter a recurrent state.

The trie is a function of the prompts and the schedule alone. Evaluating it with nothing shared makes the same calls with the
same shapes, only more often: that is why both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MOST_IN_PACK = 32  # prompts
GRAIN = 16  # tokens; every chunk size is a multiple of it


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt and what is wanted from it.

    ids         the tokens to read
    targets     score these tokens: the logits of the last len(targets) positions of `ids` predict them; empty: do not score
    new_tokens  then decode greedily up to so many tokens; 0: do not
    is_done     looks at the decoded tokens so far; True ends the decoding of this row
    context     tokens of `ids` that a compressing Method may see before the question; 0: all of them are the context
    """

    ids: Sequence[int]
    targets: Sequence[int] = ()
    new_tokens: int = 0
    is_done: Callable[[list[int]], bool] | None = None
    context: int = 0

    @property
    def sharable(self) -> int:
        """How many tokens may lie in a shared node: logits are wanted after them, and a tail has at least one token."""
        return len(self.ids) - max(len(self.targets), 1)


@dataclass(slots=True)
class Node:
    """The span [start, end) that all asks below have in common; `batches` and `packs` of tails follow it, `children` go on."""

    start: int
    end: int
    first: int  # the ask whose ids stand for the span
    batches: list[list[int]] = field(default_factory=list)
    packs: list[list[int]] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    compress: bool = False  # a Method compresses the cache at `end`

    @property
    def size(self) -> int:
        """Asks below this node."""
        return sum(map(len, self.batches + self.packs)) + sum(child.size for child in self.children)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The part of a plan that memory decides. `rows` is the largest batch of tails."""

    chunk: int = 512
    rows: int = 8
    grain: int = GRAIN
    step_limit: int = 0  # 0: any tail may follow a node. Else the longest tail worth reading token by token
    pack_tail: int = 0  # the longest tail that may be read in a pack with others; 0: no packs
    flat: bool = False  # nothing may follow a node: every prompt is a tail of the root


def build_trie(asks: Sequence[Ask], schedule: Schedule, *, compress: bool = False) -> Node:
    """The root of the trie of `asks`; it spans no tokens. Every index of `asks` is in exactly one batch."""
    order = sorted(range(len(asks)), key=lambda index: tuple(asks[index].ids))
    root = Node(0, 0, order[0] if order else 0)
    if schedule.flat:
        root.batches = _batch(order, asks, 0, schedule.rows)
    elif compress:
        _split_by_context(root, asks, order, schedule)
    elif schedule.step_limit:
        _split_for_steps(root, asks, order, schedule)
    else:
        _split(root, asks, order, schedule)
    return root


def common_prefix(a: Sequence[int], b: Sequence[int], start: int = 0) -> int:
    """Length of the common prefix, given that the first `start` tokens are known to agree."""
    end = min(len(a), len(b))
    while start < end and a[start] == b[start]:
        start += 1
    return start


def count_tokens(node: Node, asks: Sequence[Ask]) -> tuple[int, int]:
    """(tokens read when nodes are shared, tokens read when every ask is on its own)."""
    leaves = [i for batch in node.batches + node.packs for i in batch]
    shared = sum(len(asks[i].ids) - node.end for i in leaves) + node.end - node.start
    alone = sum(len(asks[i].ids) for i in leaves)
    for child in node.children:
        below = count_tokens(child, asks)
        shared, alone = shared + below[0], alone + below[1]
    return shared, alone


def _split(node: Node, asks: Sequence[Ask], order: list[int], schedule: Schedule) -> None:
    """Hang `order` (sorted, all equal up to node.end) below `node`."""
    step = schedule.grain
    leaves: list[int] = []
    at = 0
    while at < len(order):
        # Sorted prompts that share the next grain stand side by side.
        group, key = [order[at]], tuple(asks[order[at]].ids[node.end : node.end + step])
        at += 1
        while at < len(order) and tuple(asks[order[at]].ids[node.end : node.end + step]) == key:
            group.append(order[at])
            at += 1
        stays = [i for i in group if asks[i].sharable < node.end + step]
        goes = [i for i in group if asks[i].sharable >= node.end + step]
        leaves += stays
        if len(goes) < 2:
            leaves += goes
            continue
        first, last = asks[goes[0]].ids, asks[goes[-1]].ids
        shared = min(common_prefix(first, last, node.end), *(asks[i].sharable for i in goes))
        child = Node(node.end, shared // step * step, goes[0])
        node.children.append(child)
        _split(child, asks, goes, schedule)
    _hang(node, leaves, asks, schedule)


def _split_for_steps(node: Node, asks: Sequence[Ask], order: list[int], schedule: Schedule) -> None:
    """One level: neighbours whose tails after their common prefix are short enough to be read token by token."""
    group: list[int] = []

    def close() -> None:
        if len(group) < 2:
            node.batches += [[index] for index in group]
            return
        child = Node(0, _common(group, asks), group[0])
        child.batches = _batch(group, asks, child.end, schedule.rows)
        node.children.append(child)

    for index in order:
        wider = [*group, index]
        cut = _common(wider, asks)
        if group and (cut < 1 or max(len(asks[i].ids) for i in wider) - cut > schedule.step_limit):
            close()
            group = []
        group.append(index)
    close()


def _split_by_context(node: Node, asks: Sequence[Ask], order: list[int], schedule: Schedule) -> None:
    """One child for each distinct context, compressed at its end; the questions are read after that."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in order:
        ask = asks[index]
        end = min(ask.context or ask.sharable, ask.sharable)
        groups.setdefault(tuple(ask.ids[:end]), []).append(index)
    for context, group in groups.items():
        child = Node(0, len(context), group[0], compress=True)
        _hang(child, group, asks, schedule)
        node.children.append(child)


def _common(group: Sequence[int], asks: Sequence[Ask]) -> int:
    shared = common_prefix(asks[group[0]].ids, asks[group[-1]].ids)
    return min(shared, *(asks[i].sharable for i in group))


def _hang(node: Node, leaves: list[int], asks: Sequence[Ask], schedule: Schedule) -> None:
    """Short tails into packs of at most two chunks of tokens, the others into batches."""
    short = [i for i in leaves if node.end and len(asks[i].ids) - node.end <= schedule.pack_tail]
    for is_decoded in (False, True):
        pack: list[int] = []
        filled = 0
        for index in [i for i in short if (asks[i].new_tokens > 0) == is_decoded]:
            tokens = len(asks[index].ids) - node.end
            if pack and (filled + tokens > 2 * schedule.chunk or len(pack) == MOST_IN_PACK):
                node.packs.append(pack)
                pack, filled = [], 0
            pack.append(index)
            filled += tokens
        if pack:
            node.packs.append(pack)
    lonely = [pack[0] for pack in node.packs if len(pack) == 1]
    node.packs = [pack for pack in node.packs if len(pack) > 1]
    rest = [i for i in leaves if i not in set(short)] + lonely
    node.batches = _batch(rest, asks, node.end, schedule.rows)


def _batch(leaves: list[int], asks: Sequence[Ask], end: int, rows: int) -> list[list[int]]:
    """Leaves of equal tail length and equal kind, at most `rows` in a batch."""
    kinds: dict[tuple[int, bool], list[int]] = {}
    for index in leaves:
        kinds.setdefault((len(asks[index].ids) - end, asks[index].new_tokens > 0), []).append(index)
    return [kind[i : i + rows] for kind in kinds.values() for i in range(0, len(kind), rows)]
