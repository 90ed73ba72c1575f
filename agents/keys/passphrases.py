"""Generated passphrases: six words drawn at random from a list of our own."""

from __future__ import annotations

import math
import secrets
from functools import cache
from importlib import resources

WORDS = 6


@cache
def word_list() -> tuple[str, ...]:
    """Return the list: plain English words of 3 to 9 letters, sorted, each once."""
    return tuple(resources.files("agents.keys").joinpath("words.txt").read_text(encoding="ascii").split())


def generate_passphrase(words: int = WORDS) -> str:
    """Return ``words`` words, drawn independently and joined by hyphens: see `entropy_bits` for their strength."""
    return "-".join(secrets.choice(word_list()) for _ in range(words))


def entropy_bits(words: int = WORDS) -> float:
    """Return the entropy of a generated passphrase in bits; 600,000 rounds of PBKDF2 add the work of 19 more."""
    return words * math.log2(len(word_list()))
