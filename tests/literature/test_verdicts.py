"""The rules of the claims page, each on its own; then what the shipped table says by them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from longboard.literature.bench_figures import BENCHED
from longboard.literature.catalogue import STAND_INS, Claim, load_claims, load_papers
from longboard.literature.closed_forms import COMPUTED
from longboard.literature.evidence import all_verdicts, verdict_of
from longboard.literature.measured import MEASURED
from longboard.literature.measured_limits import one_pass_edge
from longboard.literature.measurements import load_tables
from longboard.literature.site_figures import SITE
from longboard.literature.verdicts import Evidence, judge
from longboard_tasks.shapes import load_shapes

BLANK = Claim(**dict.fromkeys(Claim.__dataclass_fields__, ""))


def claim(**values):
    return replace(BLANK, **({"compare": "ratio_base_over_subject", "unit": "ratio", "testable": "yes"} | values))


def figure(m, low=None, high=None, **more):
    return Evidence(m, m if low is None else low, m if high is None else high, "x", more.pop("hardware", "GPU"), **more)


@pytest.mark.parametrize(
    ("rule", "expected", "tolerance", "m", "outcome"),
    [
        ("at_least", "4", "0.25", 3.0, "holds"),
        ("at_least", "4", "0.25", 2.9, "in_part"),
        ("at_least", "4", "0.25", 0.9, "fails"),
        ("at_most", "0.25", "0.1", 0.27, "holds"),
        ("at_most", "0.25", "0.1", 0.5, "in_part"),
        ("at_most", "0.25", "0.1", 1.5, "fails"),
        ("at_most", "1.05", "0", 1.06, "fails"),  # "does not grow" has no half
        ("within", "4", "0.25", 5.0, "holds"),
        ("within", "4", "0.25", 3.2, "holds"),  # ratios: the same factor both ways
        ("within", "4", "0.25", 5.1, "in_part"),
        ("within", "4", "0.25", 0.99, "fails"),
        ("equal", "8", "0.02", 8.1, "holds"),
        ("equal", "8", "0", 8.1, "in_part"),
    ],
)
def test_a_ratio_is_judged_by_its_rule_then_by_its_side_of_parity(rule, expected, tolerance, m, outcome):
    one = claim(verdict_rule=rule, expected=expected, tolerance_rel_other_hw=tolerance)
    assert judge(one, figure(m)).outcome == outcome


@pytest.mark.parametrize(
    ("rule", "expected", "m", "outcome"),
    [
        ("at_least", "20", 12.0, "in_part"),
        ("at_least", "20", -1.0, "fails"),
        ("at_least", "-2", -1.0, "holds"),
        ("at_least", "-2", -3.0, "fails"),  # "loses next to nothing" has no half
        ("at_least", "0", -0.1, "fails"),
        ("at_most", "-20", -5.0, "in_part"),
        ("at_most", "-20", 5.0, "fails"),
    ],
)
def test_a_difference_is_judged_by_its_rule_then_by_its_side_of_nothing(rule, expected, m, outcome):
    one = claim(compare="difference_points", unit="points", verdict_rule=rule, expected=expected)
    assert judge(one, figure(m)).outcome == outcome


def test_the_tolerance_is_that_of_the_hardware_class():
    one = claim(verdict_rule="within", expected="4", tolerance_rel="0.1", tolerance_rel_other_hw="0.6")
    assert judge(one, figure(6.0)).outcome == "holds"
    assert judge(one, figure(6.0, same_class=True)).outcome == "in_part"


@pytest.mark.parametrize(
    ("rule", "expected", "m", "says"),
    [
        ("at_least", "20", 12.0, True),
        ("at_least", "20", 21.0, False),
        ("at_most", "0.2", 0.25, True),
        ("within", "4", 4.5, False),
    ],
)
def test_a_figure_short_of_the_papers_bound_says_that_the_tolerance_carries_it(rule, expected, m, says):
    found = judge(claim(verdict_rule=rule, expected=expected, tolerance_rel_other_hw="0.5"), figure(m))
    assert found.outcome == "holds"
    assert ("within the tolerance" in found.badges) is says


def test_between_and_single_figures_have_no_side():
    one = claim(verdict_rule="between", expected_low="1", expected_high="2", compare="ratio_measured_over_bound")
    assert [judge(one, figure(m)).outcome for m in (1.5, 0.9, 2.1)] == ["holds", "fails", "fails"]
    value = claim(
        verdict_rule="at_least", expected="220000", compare="value", unit="tokens", tolerance_rel_other_hw="0.1"
    )
    assert [judge(value, figure(m)).outcome for m in (198_000, 197_999)] == ["holds", "fails"]


def test_reduction_and_difference_have_parity_at_nothing():
    one = claim(
        verdict_rule="within", expected="64", compare="reduction_pct", unit="percent", tolerance_rel_other_hw="0.15"
    )
    assert [judge(one, figure(m)).outcome for m in (60, 20, -13)] == ["holds", "in_part", "fails"]


def test_an_interval_that_crosses_the_border_says_so():
    one = claim(verdict_rule="at_least", expected="4", tolerance_rel_other_hw="0")
    unsure = judge(one, figure(4.1, 3.8, 4.4))
    assert unsure.outcome == "holds"
    assert "interval crosses the border" in unsure.badges
    assert judge(one, figure(4.1, 4.05, 4.4)).sure


def test_without_a_figure_there_is_no_verdict_but_a_reason():
    found = judge(claim(verdict_rule="within", expected="4", testable="multi_gpu"), None)
    assert found.outcome == "not_measured"
    assert "several GPUs" in found.says
    assert judge(claim(verdict_rule="report_only"), figure(math.pi)).outcome == "reported"


def test_a_figure_from_memory_is_shown_as_recalled():
    assert "figure recalled" in judge(claim(provenance="abstract; setting from memory"), None).badges
    for one in load_claims().values():
        assert ("figure recalled" in judge(one, None).badges) == ("memory" in one.provenance)


# What ships


def test_every_claim_has_a_paper_and_every_measure_a_claim():
    claims = load_claims()
    assert len(claims) == 159
    assert len(load_papers()) == 119
    assert {c.paper_id for c in claims.values()} <= set(load_papers())
    kinds = [set(figures) for figures in (COMPUTED, MEASURED, BENCHED, SITE)]
    assert set.union(*kinds) <= set(claims)
    assert sum(map(len, kinds)) == len(set.union(*kinds)), "a claim has one kind of figure"


@pytest.mark.django_db
def test_no_verdict_is_typed_in_for_a_claim_without_a_measure():
    for verdict in all_verdicts():
        if verdict.claim.claim_id not in {*COMPUTED, *MEASURED, *BENCHED}:  # this site has no results
            assert verdict.outcome == "not_measured"


def test_the_closed_forms_hold_exactly():
    for name, value in (
        ("challenges-deploying-01", 245_760),
        ("jamba-01", 8.0),
        ("efficiently-scaling-inference-01", 32.0),
    ):
        found = verdict_of(load_claims()[name])
        assert found.outcome == "holds"
        assert found.evidence.value == value
        assert "closed form" in found.badges


def test_the_seed_papers_capacity_rests_on_whose_logits_are_kept():
    """One pass in plain torch ends far before 220K; in chunks the same model passes it with the logits in bf16, and does not
    in the fp32 that its class returns."""
    for table, outcome, in_chunks in (("h100-80gb", "in_part", "235,504"), ("h200", "fails", "115,648")):
        found = verdict_of(load_claims()["ssm-characterization-01"], load_tables()[table])
        assert found.outcome == outcome
        assert found.evidence.value < 100_000
        assert in_chunks in found.says
        control = verdict_of(load_claims()["ssm-characterization-03"], load_tables()[table])
        assert control.outcome == "reported"
        assert control.evidence.value < 0.5  # with last-token logits the Transformer is the one with room


def test_a_search_that_ran_out_of_time_is_a_lower_bound_where_logits_are_kept():
    tokens, how = one_pass_edge(load_tables()["h200"], "qwen2.5-0.5b", "full")
    limit = load_tables()["h200"].limit("qwen2.5-0.5b", "one_shot", "full", 24 * 2**30)
    assert (tokens, limit.ended) == (limit.tokens, "no_time")
    assert how.startswith("at least")


def test_two_lower_bounds_and_a_length_that_was_only_too_long_make_no_ratio():
    """In chunks with last-token logits both Systems reach the end of the grid; in one pass Qwen's search found none."""
    table = load_tables()["h200"]
    assert table.limit("qwen2.5-0.5b", "one_shot", "last", 24 * 2**30).is_open
    assert one_pass_edge(table, "qwen2.5-0.5b", "last")[1] == "by a line through measured peaks"
    says = verdict_of(load_claims()["ssm-characterization-03"], table).says
    assert "in one pass" in says
    assert "× in chunks" not in says


def test_stand_ins_are_shapes_that_ship():
    for paper, names in STAND_INS.items():
        assert paper in load_papers()
        assert set(names) <= set(load_shapes())


@pytest.mark.django_db
def test_measured_evidence_names_its_device_and_day():
    for verdict in all_verdicts():
        if verdict.evidence and verdict.claim.claim_id in MEASURED:
            assert verdict.evidence.hardware in {table.device for table in load_tables().values()}
            assert verdict.evidence.measured_on
            assert verdict.evidence.low <= verdict.evidence.value <= verdict.evidence.high
