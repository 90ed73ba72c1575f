"""What should stay, said a second time and in another way: groups instead of a walk. Slow, and easy to believe."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

PERIODS = {
    "keep_hourly": lambda t: t.strftime("%Y-%m-%d %H %z"),
    "keep_daily": lambda t: t.strftime("%Y-%m-%d"),
    "keep_weekly": lambda t: t.strftime("%G-%V"),
    "keep_monthly": lambda t: t.strftime("%Y-%m"),
    "keep_yearly": lambda t: t.strftime("%Y"),
}


def staying(snapshots, rules, zone, now):
    """The ids of those that stay."""
    good = [one for one in snapshots if one.state == "verified"]
    settled = [one for one in snapshots if one.state in ("verified", "damaged")]
    kept = {one.id for one in snapshots if one.state not in ("verified", "damaged") or protected(one, now)}
    kept |= by_rules(good, rules, zone, now)
    kept |= {pk for pk in by_rules(settled, rules, zone, now) if pk not in {one.id for one in good}}
    newest = newest_of(good or list(snapshots))
    return kept | ({newest.id} if newest else set())


def protected(one, now):
    young = one.minimum_days and now - one.received_at < timedelta(days=one.minimum_days)
    back = one.brought_back_until is not None and now < one.brought_back_until
    return bool(one.holds or young or back)


def by_rules(snapshots, rules, zone, now):
    counts = [getattr(rules, name) for name in ("keep_last", *PERIODS)]
    if not any(counts) and not rules.keep_within_days:
        return {one.id for one in snapshots}
    ordered = sorted(snapshots, key=rank)
    kept = {one.id for one in ordered[: rules.keep_last]}
    for name, period in PERIODS.items():
        count = getattr(rules, name)
        kept |= newest_of_periods(ordered, count, lambda one, p=period: p(one.received_at.astimezone(zone)))
    kept |= {one.id for one in snapshots if now - one.received_at < timedelta(days=rules.keep_within_days)}
    return kept | {one.id for one in snapshots if one.tags & rules.keep_tags}


def newest_of_periods(ordered, count, period):
    best = {key: newest_of(list(group)) for key, group in groupby(sorted(ordered, key=period), key=period)}
    return {one.id for one in sorted(best.values(), key=rank)[:count]}


def newest_of(snapshots):
    return min(snapshots, key=rank, default=None)


def rank(one):
    return (-one.received_at.timestamp(), one.id.bytes)
