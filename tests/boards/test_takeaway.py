"""Every cost that a board can have is spoken of in words of its own."""

import pytest

from longboard.boards.metrics import COSTS, METRICS
from longboard.boards.takeaway import CHEAPEST, COST_NOUN, takeaway
from longboard_tasks.catalogue.suites import SUITES


def test_no_cost_is_left_without_its_words():
    trained = {metric for suite in SUITES.values() if suite.trains for task in suite.tasks for metric in task.metrics}
    costs = {*COSTS, *(name for name in trained if METRICS[name].unit != "share")}
    assert {"train_tokens_per_s", "forward_peak_memory_bytes"} <= costs
    assert costs <= CHEAPEST.keys() == COST_NOUN.keys()


@pytest.mark.parametrize("name", sorted(COST_NOUN))
def test_where_nothing_has_both_numbers_the_sentence_says_what_is_lacking(name):
    words = takeaway([], tied=0, metric=METRICS["accuracy"], cost=METRICS[name], length=2_048, hardware="a card")
    assert words.startswith("At 2K tokens on a card, no system has both accuracy and ")
    assert words.endswith(" yet")
