"""Where passphrases come from: the environment, else a prompt that shows nothing. Never an argument."""

from __future__ import annotations

import os
import sys

import click

from agents.errors import UsageFault

VARIABLE = "STRONGROOM_PASSPHRASE"


def ask_new() -> str:
    """The passphrase of a new kit, asked for twice."""
    return _from_environment() or _prompt("Passphrase for the recovery kit", confirm=True)


def ask() -> str:
    """The passphrase of an existing kit."""
    return _from_environment() or _prompt("Passphrase of the recovery kit", confirm=False)


def _from_environment() -> str:
    given = os.environ.get(VARIABLE)
    if given == "":
        raise UsageFault(f"{VARIABLE} is empty.", "Set it, or unset it to be asked.")
    return given or ""


def _prompt(text: str, *, confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise UsageFault("A passphrase is needed, and there is no terminal to ask on.", f"Set {VARIABLE}.")
    return str(click.prompt(text, hide_input=True, confirmation_prompt=confirm, err=True))
