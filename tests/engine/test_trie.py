"""The trie of a set of prompts: every prompt once, nothing read twice that could be read once, cuts where they are allowed."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from longboard_tasks.engine.trie import Ask, Node, Schedule, build_trie, count_tokens

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=60)


@st.composite
def asks(draw):
    """Prompts with common beginnings of every kind: random, repeated, prefixes of one another."""
    trunk = draw(st.lists(st.integers(0, 2), max_size=150))
    made = []
    for tail in draw(st.lists(TOKENS, min_size=1, max_size=12)):
        ids = trunk[: draw(st.integers(0, len(trunk)))] + tail
        targets = ids[-draw(st.integers(0, len(ids))) :] if draw(st.booleans()) else []
        made.append(Ask(ids=ids, targets=targets, new_tokens=0 if targets else 3))
    return made


def leaves(node: Node, path=()):
    path = (*path, node)
    for batch in node.batches:
        yield path, batch, False
    for pack in node.packs:
        yield path, pack, True
    for child in node.children:
        yield from leaves(child, path)


@settings(max_examples=150, deadline=None)
@given(asks(), st.integers(1, 4), st.sampled_from([1, 8, 32]), st.sampled_from([0, 16]), st.sampled_from([0, 40]))
def test_every_ask_is_in_one_batch_or_pack_below_nodes_that_hold_its_own_tokens(
    asks, rows, grain, step_limit, pack_tail
):
    root = build_trie(asks, Schedule(chunk=64, rows=rows, grain=grain, step_limit=step_limit, pack_tail=pack_tail))
    found = []
    for path, batch, is_pack in leaves(root):
        found += batch
        assert len({asks[i].new_tokens for i in batch}) == 1
        if is_pack:
            assert len(batch) > 1
            assert max(len(asks[i].ids) for i in batch) - path[-1].end <= pack_tail
            assert sum(len(asks[i].ids) - path[-1].end for i in batch) <= 2 * 64
        else:
            assert 1 <= len(batch) <= rows
            assert len({len(asks[i].ids) for i in batch}) == 1
        for parent, node in itertools.pairwise(path):
            assert node.start == parent.end < node.end
            assert step_limit or node.end % grain == 0
            for index in batch:
                assert list(asks[index].ids[node.start : node.end]) == list(asks[node.first].ids[node.start : node.end])
        for index in batch:
            # Logits are wanted from the tail only.
            assert path[-1].end <= len(asks[index].ids) - max(len(asks[index].targets), 1)
    assert sorted(found) == list(range(len(asks)))


@settings(max_examples=100, deadline=None)
@given(asks())
def test_sharing_never_reads_more_than_reading_alone(asks):
    shared, alone = count_tokens(build_trie(asks, Schedule(grain=8)), asks)
    assert shared <= alone == sum(len(ask.ids) for ask in asks)


def test_a_tail_too_long_to_step_through_is_not_shared():
    haystack = [1] * 300
    asks = [Ask(ids=haystack + [2, i] * length, new_tokens=1) for i, length in enumerate((5, 6, 60, 61))]
    root = build_trie(asks, Schedule(step_limit=20))
    assert [len(node.batches) for node in root.children] == [2]
    assert sorted(map(sorted, root.batches)) == [[2], [3]]


def test_with_a_compressing_method_prompts_meet_at_the_end_of_their_context():
    asks = [Ask(ids=[1] * 50 + [2, i], new_tokens=1, context=50) for i in range(3)]
    asks.append(Ask(ids=[1] * 40 + [3, 3], new_tokens=1, context=40))
    root = build_trie(asks, Schedule(), compress=True)
    assert {(node.end, node.compress, node.size) for node in root.children} == {(50, True, 3), (40, True, 1)}
