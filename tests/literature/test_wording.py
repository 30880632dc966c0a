"""A claim's rule in words says what the verdict does."""

from __future__ import annotations

import re

import pytest
from tests.literature.test_verdicts import claim, figure

from longboard.literature.catalogue import load_claims
from longboard.literature.verdicts import judge
from longboard.literature.wording import compared_text, kind_text, paper_hardware_text, rule_text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"verdict_rule": "at_least", "expected": "4", "tolerance_rel": "0.25", "tolerance_rel_other_hw": "0.5"},
         "It holds at 3 × or more on the paper's class of hardware, at 2 × or more elsewhere; in part"),
        ({"verdict_rule": "at_most", "expected": "1.05", "tolerance_rel": "0"}, "It holds at 1.05 × or less"),
        ({"verdict_rule": "within", "expected": "4", "tolerance_rel": "0.25", "tolerance_rel_other_hw": "0.25"},
         "It holds from 3.2 to 5 ×; in part"),
        ({"verdict_rule": "equal", "expected": "8"}, "It holds at 8 × exactly; in part"),
        ({"verdict_rule": "at_least", "expected": "-2", "compare": "difference_points", "unit": "points"},
         "It holds at −2 points or more"),
        ({"verdict_rule": "between", "expected_low": "1", "expected_high": "2"}, "It holds from 1 to 2 ×"),
        ({"verdict_rule": "report_only", "expected": "29"}, "nothing is judged"),
    ],
)  # fmt: skip
def test_the_tolerance_is_worked_in(words, says):
    text = rule_text(claim(**words))
    assert says in text
    assert ("in part" in says) == ("in part" in text)


def test_a_rule_with_one_border_turns_where_its_words_say():
    """For every claim with such a rule: what is said, read back as a number, divides what holds from what does not."""
    seen = 0
    for one in load_claims().values():
        found = re.match(r"It holds at (−?[\d.,]+) ?\S* or (more|less)", rule_text(one).replace("×", ""))
        if not found or not one.expected:
            continue
        border, better = float(found[1].replace("−", "-").replace(",", "")), 1 if found[2] == "more" else -1
        step = 0.02 * max(abs(border), 1)
        same = {"same_class": True}
        assert judge(one, figure(border + better * step, **same)).outcome in ("holds", "reported"), one.claim_id
        assert judge(one, figure(border - better * step, **same)).outcome in ("in_part", "fails"), one.claim_id
        seen += 1
    assert seen > 60


def test_every_row_has_words_for_all_that_it_names():
    for one in load_claims().values():
        assert rule_text(one)
        assert "_" not in f"{compared_text(one)} {kind_text(one)} {paper_hardware_text(one)}", one.claim_id
    assert paper_hardware_text(claim(paper_hardware="-")) == "not stated"
    assert paper_hardware_text(claim(paper_hardware="A100")) == "A100"
