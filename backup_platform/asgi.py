"""The web process's door: `uvicorn backup_platform.asgi:application`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backup_platform.settings.production")
application = get_asgi_application()
