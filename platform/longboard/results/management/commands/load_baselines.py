from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from longboard.errors import LongboardError
from longboard.registry.services import sync_catalogue
from longboard.results.baselines import BaselineRefused, load_baselines


class Command(BaseCommand):
    help = (
        "Load the result bundles that ship with the project, through the checks of any node's bundle. Safe to repeat."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalogue()
        try:
            loaded = load_baselines(now=timezone.now())
        except (BaselineRefused, LongboardError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{loaded.new} baselines loaded, {loaded.known} were here, {loaded.skipped} have no place here."
        )
