"""Who is there: right within a minute for thousands of machines, and no write for a heartbeat.

A machine's row is written when its control connection comes and goes, many in one statement. In between, its gateway's
beat speaks for all of them: whoever is connected to a gateway that beats is online. A gateway that died takes its
machines with it without a single write. All times are the database's, so gateways' clocks need not agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, Case, DateTimeField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Greatest, Now

from .models import GatewayBeat, Machine
from .requests import clean_facts, printable

BEAT_SECONDS = 10.0
SILENCE = timedelta(seconds=45)
"""A gateway that did not beat for this long is taken for dead, and its machines for away: four beats missed."""
BURIED_AFTER = timedelta(minutes=5)
"""Then its machines' rows are put right, so that the dead gateway's name stands nowhere any more."""
FORGOTTEN_AFTER = timedelta(days=30)
MOST_OFFSET = 1e9
"""Seconds, some thirty years: a clock that says more than that has no battery and says nothing."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A machine that opened its control connection `age` seconds ago, and what it said of itself."""

    machine_id: UUID
    age: float
    facts: dict[str, str] = field(default_factory=dict)
    zone: str = ""
    clock_offset: float = 0.0
    retries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beat:
    """What a gateway says of itself: where it listens, and how much it has to do."""

    address: str = ""
    connections: int = 0
    backups: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A connected machine about which the database says something else than its gateway thinks."""

    machine_id: UUID
    state: str
    connected_to: str
    connected_ago: float
    """Seconds since its latest control connection, wherever that is."""


# The ids below are of machines whose certificates the gateway has checked: that is the statements' tenant condition.
ARRIVED_SQL = """
    UPDATE fleet_machine AS machine SET
        connected_to = %(gateway)s, connected_at = said.at, last_seen_at = GREATEST(machine.last_seen_at, now()),
        facts = CASE WHEN said.facts = '{}'::jsonb THEN machine.facts ELSE said.facts END,
        zone = CASE WHEN said.zone = '' THEN machine.zone ELSE said.zone END,
        clock_offset = said.clock_offset, retries = said.retries
    FROM (SELECT unnest(%(ids)s::uuid[]) AS id,
                 now() - unnest(%(ages)s::float8[]) * interval '1 second' AS at,
                 unnest(%(facts)s::text[])::jsonb AS facts, unnest(%(zones)s::text[]) AS zone,
                 unnest(%(offsets)s::float8[]) AS clock_offset, unnest(%(retries)s::text[])::jsonb AS retries) AS said
    WHERE machine.id = said.id
      AND (machine.connected_to IN ('', %(gateway)s) OR machine.connected_at IS NULL OR machine.connected_at <= said.at)
"""
STANDING_SQL = """
    SELECT id, state, connected_to, COALESCE(extract(epoch FROM now() - connected_at), 1e9)
    FROM fleet_machine
    WHERE id = ANY(%(machines)s)
      AND (state NOT IN ('active', 'pending') OR (state = 'pending' AND record <> '')
           OR (id = ANY(%(controlling)s) AND connected_to <> %(gateway)s))
"""
LEFT_SQL = """
    UPDATE fleet_machine SET connected_to = '', disconnected_at = now(), last_seen_at = GREATEST(last_seen_at, now())
    WHERE id = ANY(%(machines)s) AND connected_to = %(gateway)s
"""
BURY_SQL = """
    UPDATE fleet_machine AS machine SET
        connected_to = '', disconnected_at = COALESCE(beat.seen_at, machine.connected_at),
        last_seen_at = GREATEST(machine.last_seen_at, beat.seen_at)
    FROM fleet_machine AS same LEFT JOIN fleet_gatewaybeat AS beat ON beat.name = same.connected_to
    WHERE same.id = machine.id AND machine.connected_to <> ''
      AND (beat.name IS NULL OR beat.name = %(gateway)s OR beat.seen_at < now() - %(buried_after)s)
"""


def open_gateway(name: str, said: Beat | None = None) -> None:
    """A gateway starts: what an earlier life of the same name left connected is not, and the beat begins."""
    _execute(BURY_SQL, {"gateway": name, "buried_after": BURIED_AFTER})
    beat(name, said or Beat())


def beat(name: str, said: Beat | None = None) -> None:
    """The gateway is at work: one write for all its machines."""
    said = said or Beat()
    row = GatewayBeat(
        name=name,
        seen_at=Now(),
        address=said.address[:255],
        connections=said.connections,
        backups=said.backups,
    )
    GatewayBeat.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["seen_at", "address", "connections", "backups"],
    )


def close_gateway(name: str) -> None:
    """The gateway has stopped: nobody is connected to it."""
    statement = """UPDATE fleet_machine SET connected_to = '', disconnected_at = now(),
                   last_seen_at = GREATEST(last_seen_at, now()) WHERE connected_to = %(gateway)s"""
    _execute(statement, {"gateway": name})


def bury_dead_gateways() -> None:
    """Put the rows right of machines whose gateway is long dead; forget gateways that nobody has seen for a month."""
    _execute(BURY_SQL, {"gateway": "", "buried_after": BURIED_AFTER})
    GatewayBeat.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()


def note_arrivals(gateway: str, arrivals: Sequence[Arrival]) -> None:
    """Machines opened their control connections at this gateway. A later connection elsewhere is not overwritten."""
    if not arrivals:
        return
    said = {
        "gateway": gateway,
        "ids": [one.machine_id for one in arrivals],
        "ages": [one.age for one in arrivals],
        "facts": [json.dumps(clean_facts(one.facts)) for one in arrivals],
        "zones": [printable(one.zone)[:64] for one in arrivals],
        "offsets": [max(-MOST_OFFSET, min(one.clock_offset, MOST_OFFSET)) for one in arrivals],
        "retries": [
            json.dumps({printable(kind)[:64]: count for kind, count in one.retries.items()}) for one in arrivals
        ],
    }
    _execute(ARRIVED_SQL, said)


def note_departures(gateway: str, machine_ids: Sequence[UUID]) -> None:
    """Control connections of these machines have ended here, and no newer one is known."""
    if machine_ids:
        _execute(LEFT_SQL, {"gateway": gateway, "machines": list(machine_ids)})


def note_seen(machine_ids: Sequence[UUID]) -> None:
    """Machines without a control connection were heard from: a backup typed by hand, a restore."""
    if machine_ids:
        statement = "UPDATE fleet_machine SET last_seen_at = now() WHERE id = ANY(%(machines)s)"
        _execute(statement, {"machines": list(machine_ids)})


def find_standing(gateway: str, machine_ids: Sequence[UUID], controlling: Sequence[UUID]) -> list[Standing]:
    """Those of `machine_ids` that are not active any more, and those of `controlling` that the database believes to be
    connected elsewhere or not at all. One query; usually it finds nothing."""
    if not machine_ids:
        return []
    asked: dict[str, Any] = {"machines": list(machine_ids), "controlling": list(controlling), "gateway": gateway}
    with connection.cursor() as cursor:
        cursor.execute(STANDING_SQL, asked)
        return [Standing(UUID(str(row[0])), row[1], row[2], float(row[3])) for row in cursor.fetchall()]


def online_q(prefix: str = "") -> Q:
    """The condition *online* on machines, or on rows that reach one by `prefix` ("machine__")."""
    return Q(**{f"{prefix}connected_to__in": _living()})


def with_presence(machines: QuerySet[Machine]) -> QuerySet[Any]:
    """Machines with `online` and `seen_at`, the latest time at which they are known to have been there (or None)."""
    beat_of = GatewayBeat.objects.filter(name=OuterRef("connected_to")).values("seen_at")[:1]
    return machines.annotate(
        online=Case(When(online_q(), then=True), default=False, output_field=BooleanField()),
        # PostgreSQL's GREATEST leaves NULLs out of account.
        seen_at=Greatest("last_seen_at", "disconnected_at", Subquery(beat_of), output_field=DateTimeField()),
    )


def _living() -> QuerySet[Any]:
    return GatewayBeat.objects.filter(seen_at__gt=Now() - SILENCE).values("name")


def _execute(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
