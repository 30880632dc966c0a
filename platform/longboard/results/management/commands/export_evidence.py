import gzip
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from longboard.results.evidence import evidence_lines


class Command(BaseCommand):
    help = "Write the public log with its bundles, for `longboard verify` (.gz by the name)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("out", type=Path)
        parser.add_argument("--after", type=int, default=0, help="number of the last receipt that you have")

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path = options["out"]
        partial = out.with_name(out.name + ".part")
        with gzip.open(partial, "wt") if out.suffix == ".gz" else partial.open("w") as file:
            file.writelines(evidence_lines(after=options["after"]))
        partial.replace(out)
        self.stdout.write(f"Wrote {out}")
