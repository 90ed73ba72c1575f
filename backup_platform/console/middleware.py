"""What every page gets: strict headers; and who must change a password can do nothing else."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

# No script and no style from anywhere else, and no inline script at all. Alpine, which Unfold's pages are made with,
# evaluates its attributes ('unsafe-eval'); Unfold writes its colours as inline style.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class SecurityHeadersMiddleware:
    """Adds the headers that Django does not."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and keep pages that show a tenant's data out of shared caches."""
        response = _refusal(request) or self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer to an address with a NUL in it: no text in the database can hold one, so each search would fail."""
    if "%00" not in request.META.get("QUERY_STRING", ""):
        return None
    return HttpResponse("The address holds a NUL character (%00).\n", status=400, content_type="text/plain")


class PasswordChangeMiddleware:
    """A user whose password is a one-time password can change it or sign out, and nothing else."""

    ALLOWED = ("admin:password_change", "admin:password_change_done", "admin:logout", "admin:login")
    OPEN = ("/static/", "/healthz", "/readyz")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Send such a user to the page where the password is changed; programs get a plain refusal."""
        if request.path.startswith(self.OPEN) or not getattr(request.user, "must_change_password", False):
            return self.get_response(request)
        if request.path in {reverse(name) for name in self.ALLOWED}:
            return self.get_response(request)
        if request.path.startswith(("/api/", "/metrics")):
            return HttpResponse("Change the one-time password first.\n", status=403, content_type="text/plain")
        return redirect("admin:password_change")
