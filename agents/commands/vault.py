"""`strongroom vault`: make a vault's keys, and make its kit again, where the customer is."""

from __future__ import annotations

from pathlib import Path

import click

from agents.commands import passphrases
from agents.commands.output import Output
from agents.errors import UsageFault

MAX_REGISTRATION = 1 << 20


@click.group()
def command() -> None:
    """Make a vault and its recovery kit."""


@command.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where the kit is written."
)
@click.option("--name", default="", help="The vault's name (default: the directory's name).")
@click.option("--generate", is_flag=True, help="Make a passphrase of six words and show it once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(out: Path, name: str, generate: bool, as_json: bool) -> None:
    """Make a vault: its two key pairs, its secret, and the recovery kit that holds them.

    Nothing is sent anywhere. Give `vault-registration.json` to the platform (`manage.py add_vault --record`); keep
    everything else. The passphrase comes from STRONGROOM_PASSPHRASE, or is asked for twice.
    """
    from agents.keys.kit import create_kit
    from agents.keys.passphrases import generate_passphrase, weakness_of

    output = Output(as_json=as_json)
    passphrase = generate_passphrase() if generate else passphrases.ask_new()
    kit = create_kit(out, passphrase, name or out.absolute().name)
    vault_id = kit.vault_record.vault_id.hex()
    output.text(f"Made the vault '{kit.name}' ({vault_id}).")
    output.text(f"  recovery kit:      {out}  (print {out / 'recovery-kit.html'} and lock it away)")
    output.text(f"  for the platform:  {out / 'vault-registration.json'}")
    if generate:
        output.text(f"  passphrase:        {passphrase}")
        output.text("The passphrase is shown this once. Write it down now.")
    output.warn(
        "Whoever loses this kit or its passphrase loses the data: nobody else can open it, not even the platform."
    )
    if weakness := weakness_of(passphrase):
        output.warn(weakness)
    generated = {"passphrase": passphrase} if generate else {}
    output.record("summary", vault_id=vault_id, name=kit.name, directory=str(out), **generated)


@command.command()
@click.option(
    "--keys", required=True, type=click.Path(path_type=Path, file_okay=False), help="Holds the two key files."
)
@click.option(
    "--registration", required=True, type=click.Path(path_type=Path, dir_okay=False), help="vault-registration.json."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where the kit is written."
)
@click.option("--name", default="", help="The vault's name (default: the directory's name).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rebuild(keys: Path, registration: Path, out: Path, name: str, as_json: bool) -> None:
    """Make a whole kit again from recovery-key.pem and signing-key.pem (typed from paper, say) and the registration.

    The platform and every target keep what the registration says. The passphrase is the one of the key files.
    """
    from agents.keys.kit import rebuild_kit

    output = Output(as_json=as_json)
    kit = rebuild_kit(
        out, passphrases.ask(), name or out.absolute().name, keys=keys, registration=_read_registration(registration)
    )
    vault_id = kit.vault_record.vault_id.hex()
    output.text(f"Made the kit of the vault '{kit.name}' ({vault_id}) again in {out}.")
    output.record("summary", vault_id=vault_id, name=kit.name, directory=str(out))


def _read_registration(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_REGISTRATION)
    except OSError as fault:
        raise UsageFault(f"The registration {path} cannot be read: {(fault.strerror or '').lower()}.") from fault
