"""Asking a bucket for an object in a cold storage class: the one request that `obstore` has no word for.

It is signed here (Signature Version 4, as every S3-compatible service documents it) with the credentials of the usual
variables. Credentials from elsewhere are not looked for: whoever has others asks with the provider's own tools.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import os
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from agents.errors import UsageFault
from agents.from_target.stores import Unreachable

DAYS = 7
TIMEOUT = 60.0
MOST_ANSWER = 16 * 1024
BODY = (
    b'<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Days>%d</Days><GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters></RestoreRequest>" % DAYS
)
DONE = {200, 202}
IN_HAND = {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError", "InvalidObjectState"}
"""It was asked for before, or can be read already."""
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")


@dataclass(frozen=True)
class Asker:
    """Asks for objects of one bucket. Credentials never appear in what it prints."""

    endpoint: str
    region: str
    bucket: str
    access: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Asker({self.bucket!r})"

    @classmethod
    def from_environment(cls, bucket: str) -> Asker:
        """With the variables that `obstore` reads too. UsageFault without a key in them."""
        region = os.environ.get("AWS_REGION") or "us-east-1"
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        access, secret = os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
        if not access or not secret:
            raise UsageFault(
                "Cold storage can be asked only with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which are not set.",
                "Set them, or restore the objects with the provider's own tools first.",
            )
        place = endpoint or f"https://s3.{region}.amazonaws.com"
        return cls(place.rstrip("/"), region, bucket, access, secret, os.environ.get("AWS_SESSION_TOKEN", ""))

    def ask(self, name: str) -> None:
        """Ask for an object by its whole name; asking twice does no harm. Raises Unreachable."""
        parts = urlsplit(self.endpoint)
        path = f"{parts.path}/{quote(self.bucket)}/{quote(name)}"
        kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
        line = kind(parts.netloc, timeout=TIMEOUT)
        try:
            line.request("POST", f"{path}?restore=", BODY, self._headers(parts.netloc, path))
            answer = line.getresponse()
            said = _CODE.search(answer.read(MOST_ANSWER))
        except (OSError, http.client.HTTPException) as fault:
            raise Unreachable(f"The bucket could not be asked for {name} ({type(fault).__name__}).") from None
        finally:
            line.close()
        code = said[1].decode() if said else str(answer.status)
        if answer.status not in DONE and code not in IN_HAND:
            raise Unreachable(
                f"The bucket refuses to bring {name} back from cold storage ({code}).",
                "The credentials need the right RestoreObject. Or restore the objects with the provider's own tools.",
            )

    def _headers(self, host: str, path: str) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(BODY).hexdigest()
        signed = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        if self.token:
            signed["x-amz-security-token"] = self.token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = f"POST\n{path}\nrestore=\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(self._key(now[:8]), text.encode(), hashlib.sha256).hexdigest()
        named = f"Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**signed, "Authorization": f"AWS4-HMAC-SHA256 {named}", "Content-Type": "application/xml"}

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.secret}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key
