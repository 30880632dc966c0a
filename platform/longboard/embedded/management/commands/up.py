import signal
import time
from threading import Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from longboard.embedded.setup import enrol_local_node, load_shipped_baselines, models_dir, node_home, prepare_data
from longboard.embedded.supervisor import (
    StartFailed,
    Supervisor,
    free_port,
    site_environment,
    start_node,
    start_platform_celery,
    start_web,
)


class Command(BaseCommand):
    help = "Serve the whole site on this machine: database, web server, sweep and one worker node. Ctrl-C ends it all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-node", action="store_true", help="the site alone, without a worker node")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        pool = prepare_data()
        port = free_port(options["port"])
        supervisor = Supervisor(settings.DATA_DIR / "logs", site_environment(port))
        supervisor.log_here("up")  # the terminal keeps the address: loading the baselines alone logs 556 lines
        try:
            start_web(supervisor, port)
            self.stdout.write(
                f"Longboard serves on http://127.0.0.1:{port}/ (logs: {supervisor.log_dir}). Ctrl-C ends it."
            )
            # Every bundle is checked and scored as if a node had sent it, 50 ms each; the home page says how far that is.
            Thread(target=lambda: self.stdout.write(load_shipped_baselines()), daemon=True).start()
            start_platform_celery(supervisor)
            if not options["no_node"]:
                enrol_local_node(pool=pool, home=node_home(), environment=supervisor.environment)
                start_node(supervisor, node_home(), models_dir())
            while True:
                time.sleep(0.5)
                supervisor.check()
        except StartFailed as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("\nStopping.")
        finally:
            supervisor.stop()
