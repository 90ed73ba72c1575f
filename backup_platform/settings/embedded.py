"""`manage.py up`: everything on this host, plain HTTP on the loopback address.

The addresses and secrets come from the environment that `up` gives its children and writes to HOME/run.json, from
where manage.py takes them for every other command.
"""

from __future__ import annotations

from backup_platform.settings.base import *

# The manifest storage needs `collectstatic`; without a build step, files are served from where they are.
STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
