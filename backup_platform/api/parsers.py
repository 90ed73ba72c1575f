"""What the API reads: JSON of a bounded size and depth."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

MOST_BYTES = 1024 * 1024
"""Of a request's body; the largest that is meant, settings to try, has some kilobytes."""


class TooLarge(APIException):
    """The body is larger than any that is meant."""

    status_code = 413
    default_detail = f"A request to the API may carry {MOST_BYTES // 1024} KiB at most."
    default_code = "too_large"


class BoundedJSONParser(JSONParser):
    """The framework's, which would read a body of any size into memory."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body's value. Raises TooLarge and ParseError."""
        body = stream.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise TooLarge
        try:
            return super().parse(BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
