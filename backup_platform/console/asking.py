"""Acts on one object that ask before they act: a page with a question, then one service, then a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse


@dataclass(frozen=True)
class Question:
    """What is asked before an act."""

    title: str
    paragraphs: tuple[str, ...]
    button: str
    danger: bool = True
    reason: str = ""
    """The label of a text that must be given; none is asked for when empty."""
    value: str = ""
    """What stands in that text's field to begin with."""
    optional: bool = False
    """Whether that text may be left empty."""
    code: str = ""
    """Something to compare, shown large in a fixed-width face."""


MAX_REASON = 2000


def reason_in(request: HttpRequest) -> str:
    """The text that came with an act: of a bounded length, and nothing in it that no row can hold (NUL)."""
    said = request.POST.get("reason", "")[:MAX_REASON]
    return "".join(one if one.isprintable() else " " for one in said)


class AskingAdmin:
    """For admin pages with such acts. Mixed into a `TenantModelAdmin`."""

    def ask_or_act(
        self, request: HttpRequest, object_id: Any, permitted: bool, question: Callable[[Any], Question],
        act: Callable[[Any, str], str], refusals: tuple[type[Exception], ...] = (),
    ) -> HttpResponse:  # fmt: skip
        """A GET asks; a POST calls `act(object, reason)`, whose answer is shown, and goes back to the object's page."""
        page: Any = self
        found = page.get_object(request, object_id)
        if found is None:
            raise Http404
        if not permitted:
            raise PermissionDenied
        back = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_change", args=[found.pk])
        if request.method != "POST":
            return self._ask(request, question(found), back)
        try:
            messages.success(request, act(found, reason_in(request)))
        except refusals as refusal:
            messages.error(request, str(refusal))
        return redirect(back)

    def _ask(self, request: HttpRequest, question: Question, back: str) -> HttpResponse:
        page: Any = self
        context = {**page.admin_site.each_context(request), "title": question.title, "opts": page.opts,
                   "question": question, "back": back}  # fmt: skip
        return TemplateResponse(request, "console/ask.html", context)

    def ask_or_act_here(
        self, request: HttpRequest, question: Question, act: Callable[[str], str],
        refusals: tuple[type[Exception], ...] = (),
    ) -> HttpResponse:  # fmt: skip
        """The same for an act on no object of the list, with `act(reason)`; it goes back to the list.

        Whoever calls has asked whether this person may.
        """
        page: Any = self
        back = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_changelist")
        if request.method != "POST":
            return self._ask(request, question, back)
        try:
            messages.success(request, act(reason_in(request)))
        except refusals as refusal:
            messages.error(request, str(refusal))
        return redirect(back)
