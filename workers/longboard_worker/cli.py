"""The `longboard-worker` command line: every group of commands under one parser."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from longboard_worker.engine_commands import add_engine_commands
from longboard_worker.identity import NotEnrolled, default_home
from longboard_worker.measure_command import add_measure
from longboard_worker.node_commands import add_node_commands, add_report
from longboard_worker.site_commands import add_site_commands
from longboard_worker.suite_commands import add_suite_commands
from longboard_worker.verify import add_verify


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    try:
        return args.run(args)
    except NotEnrolled as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longboard-worker", description="A Longboard worker node, and its engine alone."
    )
    parser.add_argument("--home", type=Path, default=default_home(), help="folder of key, enrolment and models")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_node_commands(commands)
    add_engine_commands(commands)
    suites = commands.add_parser("suites", help="list suites, print their samples, score answers; no model needed")
    add_suite_commands(suites)
    add_site_commands(commands)
    add_verify(commands)
    add_measure(commands)
    add_report(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
