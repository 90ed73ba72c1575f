"""Passphrases: six words drawn at random from a list of our own, and what to say of others."""

from __future__ import annotations

import math
import secrets
from functools import cache
from importlib import resources

WORDS = 6
SHORT = 12
"""Characters below which somebody who has the kit's files may guess a chosen passphrase, slow as each try is."""


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


def weakness_of(passphrase: str) -> str:
    """What to tell somebody who chose this passphrase; empty when there is nothing to say."""
    if len(passphrase) >= SHORT:
        return ""
    told = "1 character" if len(passphrase) == 1 else f"{len(passphrase)} characters"
    return f"The passphrase has {told}: whoever gets the kit's files may guess it. Six random words are safe."
