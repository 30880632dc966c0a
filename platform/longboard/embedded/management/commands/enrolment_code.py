from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from longboard.embedded.setup import local_user
from longboard.fleet.models import Pool
from longboard.fleet.services import ensure_hardware, make_enrolment_code


class Command(BaseCommand):
    help = "Print a one-use code that lets one machine join a pool within the hour; makes the pool if it is new."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pool")
        parser.add_argument("--kind", choices=["cpu", "cuda"], help="for a new pool")
        parser.add_argument("--title", default="", help="for a new pool: its hardware's name")
        parser.add_argument("--memory-gib", type=int, default=0, help="for a new pool: memory of the device")

    def handle(self, *args: Any, **options: Any) -> None:
        pool = Pool.objects.filter(slug=options["pool"]).first()
        if pool is None:
            if not options["kind"] or not options["title"]:
                raise CommandError(f'Pool "{options["pool"]}" is new: say --kind and --title of its hardware.')
            hardware = ensure_hardware(
                slug=options["pool"], title=options["title"], kind=options["kind"],
                memory_bytes=options["memory_gib"] * 2**30,
            )  # fmt: skip
            pool = Pool.objects.create(
                slug=options["pool"], title=options["title"], hardware=hardware, is_first_party=True
            )
        self.stdout.write(make_enrolment_code(pool=pool, actor=local_user(), now=timezone.now()))
