"""What the page of a snapshot offers about expiry: why it stays and until when, expire, bring back, tag, hold."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from backup_platform.catalog.models import SnapshotState
from backup_platform.console import showing
from backup_platform.console.asking import AskingAdmin, Question
from backup_platform.console.site import asking
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.judging import THERE
from backup_platform.retention.queries import bring_back_until, verdict_of
from backup_platform.retention.services import MANAGE, bring_back, expire_by_hand, set_tags
from backup_platform.retention.telling import verdict_words
from backup_platform.tenants.access import can
from backup_platform.tenants.scope import whole_tenant


class SnapshotRetention(AskingAdmin):
    """For the page of snapshots."""

    def get_object(self, request: Any, object_id: Any, from_field: Any = None) -> Any:
        """Django's, knowing whether this person may see the cases of holds."""
        page: Any = super()
        found = page.get_object(request, object_id, from_field)
        if found is not None:
            found.shows_cases = can(asking(request), "holds.view") and not asking(request).is_limited
        return found

    def has_manage_permission(self, request, object_id=None):
        """Whether this person may expire snapshots and bring them back."""
        return can(asking(request), MANAGE)

    def has_expire_permission(self, request, object_id=None):
        """The same, for one that has not expired."""
        return self._in_states(request, object_id, THERE)

    def has_bring_back_permission(self, request, object_id=None):
        """The same, for one that has."""
        return self._in_states(request, object_id, (SnapshotState.EXPIRED,))

    def has_hold_permission(self, request, object_id=None):
        """Whether this person may set holds."""
        return can(asking(request), "holds.manage") and not asking(request).is_limited

    def _in_states(self, request, object_id, states):
        if not self.has_manage_permission(request):
            return False
        row = self.get_object(request, object_id) if object_id else None
        return row is None or row.state in states

    @action(description="Expire now", icon="auto_delete", variant=ActionVariant.DANGER, permissions=["expire"],
            url_path="expire")  # fmt: skip
    def expire_now(self, request, object_id):
        """Ask why, then let it expire. A GET only asks."""

        def act(row, reason):
            expire_by_hand(row, by=asking(request), reason=reason)
            return "It has expired. Its data stays for some days, in which it can be brought back."

        return self._act(request, object_id, _expire_question, act)

    @action(description="Bring back", icon="undo", permissions=["bring_back"], url_path="bring-back")
    def bring_back(self, request, object_id):
        """Ask, then undo its expiry. A GET only asks."""

        def act(row, _reason):
            bring_back(row, by=asking(request))
            return "The snapshot is back."

        return self._act(request, object_id, _back_question, act)

    @action(description="Tags", icon="sell", permissions=["manage"], url_path="tags")
    def tag(self, request, object_id):
        """Ask for its tags, then set them."""

        def act(row, text):
            tags = set_tags(row, text.replace(",", " ").split(), by=asking(request))
            return f"Its tags: {', '.join(tags) or 'none'}."

        return self._act(request, object_id, _tag_question, act)

    @action(description="Hold", icon="gavel", permissions=["hold"], url_path="hold")
    def hold(self, request, object_id):
        """To the form of a new hold on it."""
        if self.get_object(request, object_id) is None:
            raise Http404
        return HttpResponseRedirect(f"{reverse('admin:retention_hold_add')}?scope=snapshot&snapshot={object_id}")

    def _act(self, request, object_id, question, act):
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        may = can(asking(request), MANAGE, row)
        return self.ask_or_act(request, object_id, may, question, act, (RetentionRefused,))

    @display(description="How long it stays")
    def stays_shown(self, snapshot):
        """Why and until when, by the rules in force."""
        if snapshot.state == SnapshotState.RECLAIMED:
            return f"Gone for good: {snapshot.expired_because}"
        if snapshot.state == SnapshotState.EXPIRED:
            until = bring_back_until(snapshot)
            until_text = f" It can be brought back until {until:%Y-%m-%d %H:%M} UTC." if until else ""
            return f"Expired {snapshot.expired_at:%Y-%m-%d %H:%M} UTC. {snapshot.expired_because}{until_text}"
        with whole_tenant("holds and rules of the whole tenant decide, only this snapshot is shown"):
            verdict = verdict_of(snapshot)
        if verdict is None:
            return showing.NOTHING
        cases = verdict.decision.facts.holds if getattr(snapshot, "shows_cases", False) else ()
        named = f" Held for: {', '.join(cases)}." if cases else ""
        return verdict_words(verdict) + named

    @display(description="Tags")
    def tags_shown(self, snapshot):
        return ", ".join(snapshot.tags) or showing.NOTHING


def _expire_question(row):
    text = "Nothing is deleted yet: its data stays for some days, in which it can be brought back."
    return Question(f"Let the snapshot of {row.received_at:%Y-%m-%d %H:%M} expire?", (text,), "Let it expire",
                    reason="Why it shall go")  # fmt: skip


def _back_question(row):
    text = "No rule drops it for as many days as it could be brought back."
    return Question(f"Bring back the snapshot of {row.received_at:%Y-%m-%d %H:%M}?", (text,), "Bring it back", False)


def _tag_question(row):
    text = "Rules can keep snapshots that bear a tag: name it in the policy, under “With a tag”."
    return Question("Tags of this snapshot", (text,), "Set them", danger=False, value=" ".join(row.tags), optional=True,
                    reason="Tags, apart by spaces; empty: none")  # fmt: skip
