"""What a refused request is told. Whoever may not be here is refused before the framework counts: it is done here."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.response import Response
from rest_framework.views import exception_handler

from backup_platform.api.rates import TooManyRequests, check_rate


def answer_to(fault: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to a fault of a request; None for one that is not the asker's."""
    if isinstance(fault, NotAuthenticated | AuthenticationFailed | PermissionDenied):
        try:
            check_rate(context["request"])
        except TooManyRequests as more:
            fault = more
    return exception_handler(fault, context)
