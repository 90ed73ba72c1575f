"""Log lines are JSON, and no secret gets into one by its name or by its shape."""

from __future__ import annotations

import io
import json
import logging
import logging.config

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.settings.log_records import REDACTED, logging_settings, redact_secrets


@pytest.fixture
def lines():
    """Configures logging as the platform does, and reads what it wrote."""
    stream = io.StringIO()
    wanted = logging_settings("INFO")
    handler = logging.StreamHandler(stream)
    formatter = dict(wanted["formatters"]["json"])
    handler.setFormatter(formatter.pop("()")(**formatter))
    logger = logging.getLogger("tests.log_records")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel("INFO")
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.handlers, logger.propagate = [], True


@pytest.mark.parametrize(
    "secret",
    [
        "strongroom://host:1/?token=abc&ca=def#key",
        "redis://:hunter2hunter2@/x",
        "postgresql://app:hunter2hunter2@/strongroom",
        "Authorization: Bearer abcdefghijklmnop1234",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ],
)
def test_secrets_in_text_are_blanked(lines, secret: str) -> None:
    logger, written = lines
    logger.error("it failed with %s", secret)
    (line,) = written()
    assert REDACTED in line["event"]
    for part in ("hunter2", "token=abc", "#key", "MIIE", "abcdefghijklmnop1234"):
        assert part not in line["event"]


@pytest.mark.parametrize(
    "name", ["password", "h", "dedup_secret", "passphrase", "private_key", "token", "plaintext_hash"]
)
def test_fields_named_after_secrets_are_blanked(lines, name: str) -> None:
    logger, written = lines
    logger.info("x", extra={name: "value-of-it", "machine": "web-1"})
    (line,) = written()
    assert line[name] == REDACTED
    assert line["machine"] == "web-1"


def test_structlog_and_standard_records_look_the_same(lines) -> None:
    _, written = lines
    structlog.get_logger("tests.log_records").info("machine_enrolled", machine="web-1", facts={"token": "t"})
    (line,) = written()
    assert (line["event"], line["machine"], line["level"]) == ("machine_enrolled", "web-1", "info")
    assert line["facts"] == {"token": REDACTED}
    assert line["timestamp"].endswith("Z")


nested = st.recursive(
    st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(nested)
def test_a_secret_is_blanked_however_deep_it_lies(value: object) -> None:
    event = {"outer": [{"inner": value, "password": "the-secret"}], "text": "x://u:the-secret@host/"}
    assert "the-secret" not in json.dumps(redact_secrets(None, "", event))
