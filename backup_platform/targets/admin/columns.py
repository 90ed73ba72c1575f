"""What the pages show of a target."""

from __future__ import annotations

from django.apps import apps
from django.db.models import Q, Sum
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.targets.models import TargetKind, TargetState
from backup_platform.tenants.scope import current_tenant_id

GB = 10**9
UNPROBED = "waits for its probe"
STATE_COLOURS = {"active": "success", "paused": "warning", "draining": "info", "retired": "default", "away": "danger",
                 UNPROBED: "info"}  # fmt: skip
PROMISES = (("conditional_put", "never overwrites"), ("checksums", "checks SHA-256"), ("object_lock", "Object Lock"))


def with_use(targets):
    """Targets with the bytes of their good copies."""
    return targets.annotate(used=Sum("copies__bytes", filter=Q(copies__state="good")))


class TargetColumns:
    """Columns and fields of a page whose rows come `with_use`."""

    @display(description="State", label=STATE_COLOURS)
    def state_shown(self, target):
        """Its state; an active one that does not answer is away."""
        away = target.away_since is not None and target.state != TargetState.RETIRED
        if target.state == TargetState.NEW:
            return UNPROBED
        return "away" if away else str(target.state)

    @display(description="Kind", ordering="kind")
    def kind_shown(self, target):
        return "this server" if target.home else target.get_kind_display()

    @display(description="Where")
    def place_shown(self, target):
        """Where it is, without anything secret."""
        if target.kind == TargetKind.LOCAL:
            return target.path or showing.NOTHING
        host = target.endpoint.partition("://")[2] or "AWS"
        return f"{host} / {target.bucket}" + (f" / {target.prefix}" if target.prefix else "")

    @display(description="Holds")
    def use_shown(self, target):
        """The bytes there, of its capacity."""
        used = self.bytes_at(target)
        if target.capacity_bytes:
            return f"{showing.size(used)} of {showing.size(target.capacity_bytes)}"
        return showing.size(used)

    @display(description="Cost a month")
    def cost_shown(self, target):
        """By its price for a GB; the provider's requests and traffic come on top."""
        if target.price is None:
            return showing.NOTHING
        return f"{target.price * self.bytes_at(target) / GB:,.2f} {target.currency}".strip()

    def bytes_at(self, target):
        """Bytes of good copies; of the home directory: of the packs that lie there."""
        if target.home and current_tenant_id() is None:
            packs = apps.get_model("catalog", "Pack").objects.filter(place="target")
            return packs.aggregate(whole=Sum("bytes"))["whole"] or 0
        return getattr(target, "used", None) or 0

    @display(description="Probe")
    def promises_shown(self, target):
        """What it was seen to keep, in short."""
        if target.probed_at is None:
            return "not probed" if not target.home else showing.NOTHING
        if not target.flags.get("usable"):
            return "cannot be used"
        kept = [words for flag, words in PROMISES if target.flags.get(flag)]
        return ", ".join(kept) or "usable"

    @display(description="Credentials")
    def credentials_shown(self, target):
        """Whether there are any; never which."""
        if target.kind == TargetKind.LOCAL:
            return "needs none"
        return "set" if target.sealed else "none"
