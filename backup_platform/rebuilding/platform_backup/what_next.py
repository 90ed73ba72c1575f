"""What is to be done after a platform came back, in its order."""

from __future__ import annotations

from .operator_key import public_key_path

SECRETS = (
    "Its stored credentials are sealed under a key of their own: unpack this backup with --out DIR, and set "
    "STRONGROOM_SECRETS_KEY to what DIR/secrets/secrets-key holds."
)
START = "Stop the platform and start it again now: its processes still have the new installation's keys."
KEY = "`manage.py create_operator_key --public operator-public.pem`: without the key nothing is backed up any more."
SIGNER = (
    "`manage.py platform_signing_key --out platform-signers.txt`: nothing proved this backup, so its signing key was "
    "not taken over, and the platform signs with a new one. Look at accounts, roles and targets before you trust them."
)
STORE = (
    "Put the old store back, if there is one: `manage.py rebuild_catalog --target NAME` (or --directory, --s3) adds "
    "what came after this backup."
)
SCRUB = (
    "`manage.py scrub`: reads everything once. If the old store is lost, do this at once: until then the catalogue "
    "names local files that are not there."
)
RESUME = "When every snapshot is verified again: `manage.py reclaim --resume`. Nothing is reclaimed before."


def steps(number: int, *, sealed_apart: bool) -> list[str]:
    """The steps. `number` is how far the backups' numbers are, 0 when they begin anew; `sealed_apart`: there is a key
    for stored secrets of which the home knows nothing."""
    given = [SECRETS] if sealed_apart else []
    given.append(START)
    if not public_key_path().exists():
        given.append(KEY)
    if not number:
        given.append(SIGNER)
    return [*given, STORE, SCRUB, RESUME]
