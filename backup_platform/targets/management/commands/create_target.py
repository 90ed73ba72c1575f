"""`manage.py create_target NAME --kind s3|local …`: a place for copies, probed at once."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from backup_platform.targets.commands import TargetCommand, add_naming, ask_credentials
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.services import TargetRefused, create_target

GIVEN = ("path", "endpoint", "region", "bucket", "prefix", "storage_class", "currency")


class Command(TargetCommand):
    """Adds a target."""

    help = (
        "Add a local directory or an S3 bucket that keeps copies. A bucket's keys come from"
        " STRONGROOM_TARGET_ACCESS_KEY and STRONGROOM_TARGET_SECRET_KEY (or the files that …_FILE name), else"
        " from a prompt."
    )

    def add_arguments(self, parser):
        add_naming(parser)
        parser.add_argument("--kind", choices=TargetKind.values, required=True)
        parser.add_argument("--path", default="", help="local: the directory, an absolute path")
        parser.add_argument("--endpoint", default="", help="s3: https://host or https://host:port; without it, AWS")
        parser.add_argument("--region", default="")
        parser.add_argument("--bucket", default="")
        parser.add_argument("--prefix", default="", help="s3: before every key")
        parser.add_argument("--allow-private", action="store_true", help="s3: the endpoint may be a private address")
        parser.add_argument("--storage-class", default="", help="s3: of packs")
        parser.add_argument("--lock-days", type=int, help="s3: Object Lock for so many days")
        parser.add_argument("--parity-percent", type=int, default=0)
        parser.add_argument("--capacity-bytes", type=int)
        parser.add_argument("--price", help="a month, for 1 GB (10⁹ bytes)")
        parser.add_argument("--currency", default="")
        parser.add_argument("--no-probe", action="store_true", help="leave that to a worker; it is not used before")

    def handle(self, *args, name, kind, tenant, **options):
        target = Target(name=name, kind=kind, tenant=self.owner(tenant), **{key: options[key] for key in GIVEN})
        target.allow_private, target.parity_percent = options["allow_private"], options["parity_percent"]
        target.lock_days, target.capacity_bytes = options["lock_days"], options["capacity_bytes"]
        target.price = price_of(options["price"])
        try:
            credentials = ask_credentials() if kind == TargetKind.S3 else None
            create_target(target, credentials, actor=self.actor, staff=True, probe=options["no_probe"])
        except (TargetRefused, ImproperlyConfigured) as refusal:
            raise CommandError(str(refusal)) from None
        if options["no_probe"]:
            self.stdout.write(f"The target {name} was added. A worker probes it, and it is used once found good.")
            return
        self.tell(target, self.probe(target), as_json=options["json"])


def price_of(text):
    """The price as a number; CommandError for what is none."""
    if text is None:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price < 10**6:
        raise CommandError("The price is a number such as 0.023.")
    return price.quantize(Decimal("0.0001"))
