"""The web process's door: `uvicorn backup_platform.asgi:application`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from backup_platform.console.bodies import BoundedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backup_platform.settings.production")
application = BoundedBodies(get_asgi_application())
