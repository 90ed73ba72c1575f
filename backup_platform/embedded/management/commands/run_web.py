"""`manage.py run_web`: the web process (uvicorn in this process, with our log records)."""

from __future__ import annotations

import os
import warnings
from typing import Any

import uvicorn
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Serves the dashboard, the admin and the API over HTTP; TLS is the proxy's business."""

    help = "Serve the web console and the API. Behind a proxy that ends TLS, except on the loopback address."

    def add_arguments(self, parser: CommandParser) -> None:
        """--host and --port, from the environment unless given."""
        parser.add_argument("--host", default=os.environ.get("STRONGROOM_WEB_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=int(os.environ.get("STRONGROOM_WEB_PORT", "8470")))

    def handle(self, *_: Any, **options: Any) -> None:
        """Serve until SIGTERM; open event streams get five seconds to end."""
        # WhiteNoise hands out files synchronously, which Django remarks on once a file; it is meant.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
        uvicorn.run(
            "backup_platform.asgi:application",
            host=options["host"],
            port=options["port"],
            log_config=None,
            lifespan="off",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # Django reads the one header that it trusts itself
            timeout_graceful_shutdown=5,
            timeout_keep_alive=20,
            limit_concurrency=512,
            backlog=256,
        )
