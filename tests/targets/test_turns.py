"""The sweeps over everybody's targets: a tenant's slow endpoints hold up nobody else."""

from __future__ import annotations

import pytest

from backup_platform.targets import services, watching
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from tests.targets.conftest import KEYS, bucket_of, kept

pytestmark = pytest.mark.django_db


def away(owner, name: str, prefix: str) -> Target:
    target = services.create_target(
        bucket_of(owner, name=name, prefix=prefix), KEYS, actor="ada", staff=True, probe=False
    )
    services.note_away(target, "It did not answer.")
    return target


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Which targets are asked, in their order; each takes a minute, the hostile ones' as well as the others'."""
    order: list[str] = []
    clock = iter(range(0, 100_000, 60))
    now = [0.0]

    class Answers:
        def exists(self, key: str) -> bool:
            now[0] = float(next(clock)) + 60
            return False

    def opened(target: Target) -> Answers:
        order.append(target.name)
        return Answers()

    monkeypatch.setattr(watching, "_open_in_haste", opened)
    monkeypatch.setattr(watching, "monotonic", lambda: now[0])
    return order


@pytest.mark.defence
def test_one_tenants_many_slow_targets_hold_up_nobody_elses(tenant, other, asked):
    slow = [away(tenant, f"a{number:02}", f"a{number:02}") for number in range(12)]
    theirs, shared = away(other, "zz", "z"), away(None, "zzz", "zz")
    for target in slow:  # they answer slowly, and never well
        with without_tenant_scope("test data"):
            Target.objects.filter(pk=target.pk).update(fault="slow")
    assert watching.look_again() == len(asked)
    assert asked[0] == "zzz", "the platform's own come first"
    assert "zz" in asked[:3]
    assert len(asked) < 8, "the turn has an end"
    assert (kept(theirs).away_since, kept(shared).away_since) == (None, None)


def test_everybody_gets_their_turn_in_time(tenant, asked):
    for number in range(8):
        away(tenant, f"a{number}", f"a{number}")
    for _ in range(10):
        watching.look_again()
    assert len(set(asked)) == 8
