from django.core.management.base import BaseCommand

from longboard.registry.services import sync_catalogue


class Command(BaseCommand):
    help = "Make the tables say what the catalogue and the zoo say: suites, methods, models. Safe to repeat."

    def handle(self, *args: object, **options: object) -> None:
        sync_catalogue()
        self.stdout.write("Suites, methods and zoo models are in step with the catalogue.")
