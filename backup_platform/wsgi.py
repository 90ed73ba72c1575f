"""For servers that speak WSGI only; the live pages need ASGI (backup_platform.asgi)."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backup_platform.settings.production")
application = get_wsgi_application()
