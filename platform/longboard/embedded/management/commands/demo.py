import resource
import signal
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from longboard.accounts.services import make_token, revoke_token
from longboard.embedded.demo import Ask, DemoFailed, SiteApi, check_board, watch
from longboard.embedded.setup import enrol_local_node, local_user, models_dir, node_home, prepare_data
from longboard.embedded.supervisor import (
    StartFailed,
    Supervisor,
    free_port,
    site_environment,
    start_node,
    start_platform_celery,
    start_web,
)
from longboard_tasks.zoo.registry import ZOO, ModelMissing, weights_dir

SHIPPED_LENGTHS = (512, 2048, 4096)  # up to the training length, and twice it: there the front turns
FETCHED_LENGTHS = (512, 2048)  # the large model takes two seconds a thousand tokens on two cores
LIMIT_S = 900


class Command(BaseCommand):
    help = (
        "Evaluate the shipped models on niah and efficiency through the public API and the queue, then serve the board."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--check", action="store_true", help="assert on the board's content, then end")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        began = time.monotonic()
        models = self._models()
        self.stdout.write("Preparing the data folder.")
        pool = prepare_data()
        port = free_port(options["port"])
        supervisor = Supervisor(settings.DATA_DIR / "logs", site_environment(port))
        token, secret = make_token(
            user=local_user(), name="demo", scope="submit", days=1, now=timezone.now() - timedelta(seconds=1)
        )
        try:
            start_web(supervisor, port)
            start_platform_celery(supervisor)
            enrol_local_node(pool=pool, home=node_home(), environment=supervisor.environment)
            start_node(supervisor, node_home(), models_dir())
            site = supervisor.environment["LONGBOARD_SITE_URL"]
            self.stdout.write(f"The site is up on {site}/ (logs: {supervisor.log_dir}).")
            api = SiteApi(site, secret)
            asks = _asks(models)
            submissions = [s["id"] for ask in asks for s in api.submit(ask, pool.slug)]
            watch(api, submissions, alive=supervisor.check, limit_s=LIMIT_S)
            for line in check_board(api, asks=asks, hardware=pool.hardware.slug):
                self.stdout.write(line)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            self.stdout.write(
                f"Done in {time.monotonic() - began:.0f} s; the largest finished process held {peak} MiB."
            )
            self.stdout.write(self.style.SUCCESS(f"Leaderboard: {site}/boards/niah/?length={FETCHED_LENGTHS[-1]}"))
            if not options["check"]:
                self.stdout.write("Serving until Ctrl-C.")
                while True:
                    time.sleep(0.5)
                    supervisor.check()
        except (StartFailed, DemoFailed) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("\nStopping.")
        finally:
            supervisor.stop()
            revoke_token(token=token, now=timezone.now())

    def _models(self) -> list[str]:
        """The zoo models whose weights are here; says which are not, and goes on without them."""
        here = []
        for model_id in ("llama-3m", "mamba2-3m", "smollm2-135m-instruct"):
            try:
                weights_dir(model_id, models_dir())
            except ModelMissing as error:
                self.stdout.write(self.style.WARNING(f"Without {ZOO[model_id].title}: {error}"))
            else:
                here.append(model_id)
        if len(here) < 2:
            raise CommandError("The demo needs at least two models.")
        return here


def _asks(models: list[str]) -> list[Ask]:
    """The fetched model gets fewer samples and repeats: its intervals are wider, and the pages show that."""
    return [
        Ask(model, SHIPPED_LENGTHS, (("niah", 25), ("efficiency", 5)))
        if ZOO[model].shipped
        else Ask(model, FETCHED_LENGTHS, (("niah", 5), ("efficiency", 3)))
        for model in models
    ]
