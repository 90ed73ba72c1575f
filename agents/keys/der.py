"""Reading key files as far as telling what they are, so that a refusal can name the fault.

PEM is RFC 7468 (one block, nothing around it), DER is X.690 (definite lengths in their shortest form). Only the
structures of RFC 5280 (SubjectPublicKeyInfo), RFC 5958 (PKCS #8) and RFC 8017 (RSA keys) are looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from agents.keys.faults import KeyFault

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, SEQUENCE = 0x02, 0x03, 0x04, 0x05, 0x06, 0x30
MAX_KEY_FILE = 64 * 1024
"""An encrypted RSA-4096 key is 4 KiB; what is larger is no key file."""

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END ([A-Z0-9 ]+)-----", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Element:
    """One DER element: its tag, its content, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes


def key_der(data: bytes) -> tuple[str, bytes]:
    """Return the label (empty for DER) and the DER bytes of a key file; KeyFault when it is neither PEM nor DER."""
    if not data.strip():
        raise KeyFault("The key file is empty.")
    if len(data) > MAX_KEY_FILE:
        raise KeyFault("The file is too large to be a key.")
    if data[:1] == bytes((SEQUENCE,)):
        return "", data
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not text.startswith(b"-----BEGIN "):
        raise KeyFault("This is no key file: it is neither PEM nor DER.")
    return _pem_block(text)


def _pem_block(text: bytes) -> tuple[str, bytes]:
    match = _PEM.match(text)
    if match is None:
        raise KeyFault("The key file is truncated: its END line is missing.")
    if match[1] != match[3] or match.end() != len(text):
        raise KeyFault("The key file holds more than one PEM block. Give one key in a file of its own.")
    if b":" in match[2]:
        raise KeyFault(
            "The key is encrypted in OpenSSL's old format, which is too weak.",
            "Convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc",
        )
    try:
        return match[1].decode("ascii"), base64.b64decode(b"".join(match[2].split()), validate=True)
    except binascii.Error:
        raise KeyFault("The key file is damaged: its base64 cannot be read.") from None


def elements(content: bytes) -> list[Element]:
    """Return the DER elements that follow one another in ``content``; KeyFault when one is truncated or malformed."""
    found = []
    position = 0
    while position < len(content):
        element = _element(content, position)
        found.append(element)
        position += len(element.whole)
    return found


def _element(data: bytes, start: int) -> Element:
    body, length = _length(data, start + 1)
    end = body + length
    if end > len(data):
        raise KeyFault("The key file is truncated: it ends in the middle of the key.")
    return Element(data[start], data[body:end], data[start:end])


def _length(data: bytes, position: int) -> tuple[int, int]:
    """Return where the content begins and how long it is."""
    if position >= len(data):
        raise KeyFault("The key file is truncated: it ends in the middle of the key.")
    first = data[position]
    if first < 0x80:
        return position + 1, first
    count = first & 0x7F
    if not 1 <= count <= 4:
        raise KeyFault("The key file is damaged: it is not DER.")
    digits = data[position + 1 : position + 1 + count]
    length = int.from_bytes(digits, "big")
    if len(digits) < count:
        raise KeyFault("The key file is truncated: it ends in the middle of the key.")
    if length < 0x80 or digits[0] == 0:
        raise KeyFault("The key file is damaged: it is not DER.")
    return position + 1 + count, length


def sequence(der: bytes, what: str = "key file") -> list[Element]:
    """Return the elements of the one SEQUENCE that ``der`` is; KeyFault when it is none or something follows."""
    outer = _element(der, 0) if der else None
    if outer is None or outer.tag != SEQUENCE:
        raise KeyFault(f"The {what} is damaged: it is not DER.")
    if len(outer.whole) != len(der):
        raise KeyFault(f"The {what} is followed by bytes that do not belong to it.")
    return elements(outer.content)


def number(element: Element) -> int:
    """Return the value of a non-negative INTEGER in its shortest form."""
    content = element.content
    padded = len(content) > 1 and content[0] == 0 and content[1] < 0x80
    if element.tag != INTEGER or not content or content[0] >= 0x80 or padded:
        raise KeyFault("The key is damaged: one of its numbers is not DER.")
    return int.from_bytes(content, "big")
