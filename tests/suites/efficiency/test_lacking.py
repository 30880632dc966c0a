"""What reports of a device lack of a plan: exactly the rows that are not there, or for which there was no time."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from longboard_tasks.suites import efficiency
from longboard_tasks.suites.efficiency.energy import WINDOW_S
from longboard_tasks.suites.efficiency.lacking import lacking
from longboard_tasks.suites.efficiency.measure import add_arguments, make_requests
from longboard_tasks.suites.efficiency.plans import config_system, table_plan
from longboard_tasks.suites.efficiency.report import (
    Breakdown,
    Cell,
    Energy,
    Failure,
    Limit,
    Report,
    Slope,
    read_report,
)
from longboard_tasks.suites.efficiency.request import PARTS, Request

GIB = 2**30
REQUEST = Request(
    name="one", system=config_system("llama-1b"), lengths=(1_024, 4_096), decode_lengths=(1_024, 65_536),
    breakdown_lengths=(1_024, 4_096), full_lengths=(4_096,), energy_length=4_096, batch=8, batch_length=4_096,
    limits=(("chunked", "last", None), ("one_shot", "full", 24 * GIB)),
)  # fmt: skip
ENERGY = Energy(joules=5.0, integrated=None, idle_w=None, window_s=WINDOW_S, tokens=10, is_valid=True)


def cell(phase, length, **more):
    return Cell(system="one", phase=phase, context_length=length, **more)


def limit(reading, logits, cap, ended="out_of_memory"):
    return Limit(
        system="one", reading=reading, logits=logits, cap_bytes=cap, tokens=1, predicted=1, ended=ended, ended_at=2
    )


def breakdown(phase, length):
    return Breakdown(
        system="one", phase=phase, context_length=length, reading="chunked", wall_ms=1, busy_ms=1, launches=1, groups={}
    )


ROWS = {
    "cells": (
        cell("prefill", 1_024), cell("prefill", 4_096, energy=ENERGY), cell("decode", 1_024), cell("decode", 65_536),
        cell("decode", 4_096, energy=ENERGY), cell("prefill", 4_096, logits="full"), cell("prefill", 4_096, batch=8),
        cell("decode", 4_096, batch=8),
    ),
    "breakdowns": tuple(breakdown(phase, length) for phase in ("prefill", "decode") for length in (1_024, 4_096)),
    "limits": (limit("chunked", "last", None), limit("one_shot", "full", 24 * GIB)),
    "slopes": (Slope(system="one", lengths=(1,), held=(1,), per_token=1, constant=0, formula_per_token=1, formula_held=(1,)),),
}  # fmt: skip


def report(**rows):
    return Report.model_construct(**(ROWS | rows))


def left(**rows):
    return lacking([REQUEST], [report(**rows)])


def without(kind, *gone):
    return {kind: tuple(row for at, row in enumerate(ROWS[kind]) if at not in gone)}


def test_nothing_is_lacking_where_all_is_there_and_all_where_nothing_is():
    assert left() == []
    assert lacking([REQUEST], []) == [REQUEST]
    assert lacking([REQUEST.model_copy(update={"name": "two"})], [report()])[0].parts == PARTS


@pytest.mark.parametrize(
    ("rows", "part", "fields"),
    [
        (without("cells", 0), "cells", {"lengths": (1_024,)}),
        (without("cells", 3), "cells", {"lengths": (), "decode_lengths": (65_536,)}),
        (without("cells", 5), "full_logits", {"full_lengths": (4_096,)}),
        (without("cells", 7), "batch", {}),
        (without("breakdowns", 3), "breakdown", {"breakdown_lengths": (4_096,)}),
        (without("limits", 1), "limits", {"limits": (("one_shot", "full", 24 * GIB),)}),
        (without("slopes", 0), "slope", {}),
        ({"cells": (*ROWS["cells"][:4], cell("decode", 4_096), *ROWS["cells"][5:])}, "energy", {}),
    ],
)
def test_one_missing_row_is_one_part_with_that_row_alone(rows, part, fields):
    (request,) = left(**rows)
    assert request.parts == (part,)
    for name, value in fields.items():
        assert getattr(request, name) == value


@pytest.mark.parametrize(("kind", "parts"), [("no_time", ("batch",)), ("out_of_memory", ()), ("position_limit", ())])
def test_a_failure_is_a_result_unless_time_was_over(kind, parts):
    failed = cell("decode", 4_096, batch=8, failure=Failure(kind=kind, says="x"))
    found = left(cells=(*ROWS["cells"][:7], failed))
    assert tuple(part for request in found for part in request.parts) == parts


def test_rows_may_be_spread_over_reports_and_a_search_cut_short_is_lacking():
    half = lacking([REQUEST], [report(**without("cells", 0)), report(cells=ROWS["cells"][:1])])
    assert half == []
    (request,) = left(limits=(limit("chunked", "last", None, ended="no_time"), ROWS["limits"][1]))
    assert request.limits == (("chunked", "last", None),)


def test_the_command_leaves_out_what_a_shipped_table_has(tmp_path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    path = Path(efficiency.__path__[0]) / "measured/h100-80gb.json"
    table = read_report(path)
    found = make_requests(parser.parse_args(["--plan", "table", "--out", str(tmp_path), "--beside", str(path)]))
    assert {request.name for request in found} <= {request.name for request in table_plan()}
    assert {request.launch for request in found} == {1}
    for request in found:
        there = {c.context_length for c in table.cells if c.system == request.name and c.phase == "prefill" and not c.failure
                 and c.batch == 1 and c.logits == "last"}  # fmt: skip
        assert not there & set(request.lengths if "cells" in request.parts else ())
    with pytest.raises(ValueError, match="No report can be read there"):
        make_requests(parser.parse_args(["--plan", "table", "--out", str(tmp_path), "--beside", "nowhere.json"]))
