"""Our own processes: web, gateway, worker, tier_worker, beat. How each is run, finds its servers, is known to serve."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from backup_platform import dispatch
from backup_platform.dispatch import TIER
from backup_platform.embedded import readiness
from backup_platform.embedded.child import Recipe
from backup_platform.embedded.errors import WrongSetting
from backup_platform.embedded.postgres import Postgres
from backup_platform.settings.environment import broker_from_redis_url

CHECKOUT = Path(settings.BASE_DIR)
MANAGE = [sys.executable, str(CHECKOUT / "manage.py")]
CELERY = [sys.executable, "-m", "celery", "-A", "workers.app"]
ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 compared, not bound
QUEUES = ",".join(queue for queue in dispatch.QUEUES if queue != TIER)  # what waits for nobody else's machine
ALONE = ("--without-gossip", "--without-mingle")  # nobody to gossip with
# Threads that talk to the database at the same time; more than these would only wait for the disk.
WEB_CONNECTIONS = "8"
GATEWAY_CONNECTIONS = "10"
# What a child needs of the caller's environment; secrets and settings of another instance are not among it.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "VIRTUAL_ENV", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Addresses:
    """Where the instance is reached. GATEWAY is what agents are told, and may differ from where it listens."""

    web_host: str
    web_port: int
    gateway_host: str
    gateway_port: int
    gateway: str

    @property
    def web(self) -> str:
        """The URL that a browser on this host opens."""
        host = "127.0.0.1" if self.web_host in ANY_ADDRESS else self.web_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.web_port}/"

    @property
    def gateway_probe(self) -> str:
        """The address at which this host itself reaches the gateway."""
        return "127.0.0.1" if self.gateway_host in ANY_ADDRESS else self.gateway_host


@dataclass(frozen=True)
class InstanceEnvironment:
    """The environment of one instance. `children` lacks the owner's password: they have no business with the schema."""

    home: Path
    addresses: Addresses
    secret_key: str = field(repr=False)
    application_url: str = field(repr=False)
    owner_url: str = field(repr=False)
    redis_url: str = field(repr=False)

    def shared(self) -> dict[str, str]:
        """What names this instance and holds no right to its schema."""
        return {
            "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "backup_platform.settings.embedded"),
            "STRONGROOM_HOME": str(self.home),
            "STRONGROOM_GATEWAY_HOST": self.addresses.gateway_host,
            "STRONGROOM_GATEWAY_PORT": str(self.addresses.gateway_port),
            "STRONGROOM_GATEWAY_ADDRESS": self.addresses.gateway,
            "STRONGROOM_WEB_HOST": self.addresses.web_host,
            "STRONGROOM_WEB_PORT": str(self.addresses.web_port),
            "DJANGO_SECRET_KEY": self.secret_key,
            "DATABASE_URL": self.application_url,
            "REDIS_URL": self.redis_url,
        }

    def for_commands(self) -> dict[str, str]:
        """What HOME/run.json offers to other commands: `migrate` needs the owner."""
        return {**self.shared(), "DATABASE_OWNER_URL": self.owner_url}

    def for_child(self, **more: str) -> dict[str, str]:
        """A child's whole environment."""
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        kept.update({name: value for name, value in os.environ.items() if name.startswith("STRONGROOM_")})
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        return {**kept, "PYTHONUNBUFFERED": "1", **self.shared(), **more}


def check_settings() -> None:
    """Look at what the environment asks for before anything is started. Raises WrongSetting."""
    try:
        dispatch.tier_processes()
    except ImproperlyConfigured as fault:
        raise WrongSetting(str(fault), "Correct it, and start again.") from None


def platform_recipes(instance: InstanceEnvironment, logs: Path, postgres: Postgres) -> list[Recipe]:
    """The five processes. They may start at the same time: the servers that they need are there."""
    workers = [_worker(instance, logs, postgres), _tier_worker(instance, logs, postgres)]
    return [_web(instance, logs), _gateway(instance, logs), *workers, _beat(instance, logs)]


def _web(instance: InstanceEnvironment, logs: Path) -> Recipe:
    return Recipe(
        name="web",
        command=[*MANAGE, "run_web"],
        environment=instance.for_child(STRONGROOM_DATABASE_POOL=WEB_CONNECTIONS, STRONGROOM_STATEMENT_TIMEOUT="60s"),
        log=logs / "web.log",
        ready=readiness.web_ready(instance.addresses.web),
    )


def _gateway(instance: InstanceEnvironment, logs: Path) -> Recipe:
    return Recipe(
        name="gateway",
        command=[*MANAGE, "run_gateway"],
        environment=instance.for_child(STRONGROOM_DATABASE_POOL=GATEWAY_CONNECTIONS),
        log=logs / "gateway.log",
        ready=readiness.listening(instance.addresses.gateway_probe, instance.addresses.gateway_port),
        stop_seconds=30,
    )


def _worker(instance: InstanceEnvironment, logs: Path, postgres: Postgres) -> Recipe:
    silent = readiness.worker_silent(postgres)
    return _celery_worker("worker", QUEUES, 2, "strongroom.canary", silent, instance, logs)


def _tier_worker(instance: InstanceEnvironment, logs: Path, postgres: Postgres) -> Recipe:
    """For what waits for targets, which may belong to anybody and be as slow as they like."""
    silent = readiness.tier_worker_silent(postgres)
    return _celery_worker(
        "tier_worker", TIER, dispatch.tier_processes(), "strongroom.tier_canary", silent, instance, logs
    )


def _celery_worker(
    name: str,
    queues: str,
    processes: int,
    canary: str,
    silent: Callable[[], Awaitable[bool]],
    instance: InstanceEnvironment,
    logs: Path,
) -> Recipe:
    how = ["-Q", queues, "-c", str(processes), "-n", f"{name}@%h", "-l", "INFO", *ALONE]
    broker = broker_from_redis_url(instance.redis_url)
    return Recipe(
        name=name,
        command=[*CELERY, "worker", *how],
        environment=instance.for_child(REMAP_SIGTERM="SIGQUIT"),
        log=logs / f"{name}.log",
        silent=silent,
        ready=readiness.worker_ready(broker, name, canary, queues.partition(",")[0]),
        stop_seconds=40,  # its own soft shutdown may take 30
        # Celery waits for ever for a broker that died with us; whatever it did is claimed by lease and done again.
        orphan_signal=signal.SIGKILL,
    )


def _beat(instance: InstanceEnvironment, logs: Path) -> Recipe:
    return Recipe(
        name="beat",
        command=[*CELERY, "beat", "--pidfile=", "-l", "INFO"],
        environment=instance.for_child(),
        log=logs / "beat.log",
        ready=readiness.still_alive(1.5),
        orphan_signal=signal.SIGKILL,
    )
