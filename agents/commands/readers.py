"""What `snapshots`, `ls` and `restore` share: whose snapshots to read, with which keys, and from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.commands.output import Output
from agents.errors import AuthenticationFault, Forbidden, UsageFault
from agents.transport.retrying import DEFAULT_RETRY_FOR

if TYPE_CHECKING:
    from agents.engine.reading import SnapshotReader, Source, Trust
    from agents.keys.kit import Kit
    from agents.state import AgentHome

Decorated = Callable[..., Any]


@dataclass(frozen=True)
class Scope:
    """Whose snapshots: this machine's own, or with the kit those of `machine`; from a gateway, or from a store."""

    kit: Path | None
    machine: str
    from_target: str = ""


def scope_options(function: Decorated) -> Decorated:
    """Add --kit, --machine, --from-target, --retry-for and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line."),
        click.option("--quiet", "-q", is_flag=True, help="No progress and no notes."),
        click.option(
            "--retry-for",
            type=click.FloatRange(0, 86_400),
            default=DEFAULT_RETRY_FOR,
            show_default=True,
            help="Seconds to keep trying when the gateway is away.",
        ),
        click.option(
            "--from-target",
            default="",
            metavar="STORE",
            help="Read a store's files (a directory, or s3://BUCKET/PREFIX) without any server.",
        ),
        click.option("--machine", default="", help="Read this machine's snapshots; needs --kit."),
        click.option("--kit", type=click.Path(path_type=Path, file_okay=False), help="The vault's recovery kit."),
    ):
        function = option(function)
    return function


@contextmanager
def reading(scope: Scope, output: Output, retry_for: float) -> Iterator[tuple[SnapshotReader, Source]]:
    """Connect, or open the store, and yield a reader. Raises AgentError."""
    from agents.engine.reading import SnapshotReader
    from agents.state import AgentHome
    from agents.transport.reading_link import ReadingLink

    if scope.machine and scope.kit is None:
        raise UsageFault("Another machine's snapshots need the vault's kit.", "Add --kit DIR.")
    if scope.from_target:
        from agents.commands.store_readers import reading_store

        with reading_store(scope, output) as found:
            yield found
        return
    home = AgentHome()
    home.machine()
    kit = _open_kit(scope.kit, home)
    machine = (scope.machine or home.machine().machine_name) if kit else ""
    trust = _kit_trust(home, kit, machine) if kit else own_trust(home)
    link = ReadingLink(home, retry_for, output.note, machine, kit.signing if kit else None)
    try:
        link.connect()
        yield SnapshotReader(link, trust), link
    finally:
        link.close()


def own_trust(home: AgentHome) -> Trust:
    """What this machine believes of its own snapshots."""
    from agents.engine.reading import Trust
    from agents.keys.rsa import load_private
    from agents.keys.statement import Head
    from protocol.stored.statements import decode_statement

    machine = home.machine()
    last = home.last_statement()
    head = None
    if last is not None:
        statement = decode_statement(last)
        head = Head(statement.sequence, statement.digest)
    return Trust(
        tenant_id=machine.tenant_id,
        vault_id=machine.vault_id,
        dedup_secret=home.dedup_secret(),
        key=load_private(home.reading_pem(), proven=True),
        own_record=home.machine_record(),
        head=head,
    )


def refuse_write_only(scope: Scope) -> None:
    """Say at once what the gateway would say: a write-only machine reads nothing back."""
    from agents.state import AgentHome

    if scope.kit is None and AgentHome().machine().write_only:
        raise Forbidden(
            "This machine is write-only: it cannot read its snapshots.", "Restore with the vault's kit: --kit DIR."
        )


def _kit_trust(home: AgentHome, kit: Kit, machine_name: str) -> Trust:
    from agents.engine.reading import Trust

    return Trust(
        tenant_id=home.machine().tenant_id,
        vault_id=kit.vault_record.vault_id,
        dedup_secret=kit.enrollment.dedup_secret,
        key=kit.opening,
        machine_name=machine_name,
    )


def _open_kit(directory: Path | None, home: AgentHome) -> Kit | None:
    if directory is None:
        return None
    from agents.commands import passphrases
    from agents.keys.kit import open_kit

    kit = open_kit(directory, passphrases.ask())
    if kit.vault_record.vault_id != home.machine().vault_id:
        raise AuthenticationFault(
            f"The kit in {directory} is of another vault than this machine.", "Use a machine of the kit's own vault."
        )
    return kit


def split_target(text: str) -> tuple[str, bytes]:
    """Cut SNAPSHOT[:PATH]; the path is absolute, b"/" when none is given."""
    import os

    name, colon, path = text.partition(":")
    if not name:
        raise UsageFault("There is no snapshot before the colon.", "Name `latest`, an id, or the beginning of one.")
    if colon and not path.startswith("/"):
        raise UsageFault(f"The path '{path}' is not absolute.", "Begin it with a slash.")
    raw = os.fsencode(path).rstrip(b"/")
    if any(part in (b"", b".", b"..") for part in raw.split(b"/")[1:]):
        raise UsageFault(f"The path '{path}' has an empty component, '.' or '..' in it.", "Name it as `ls` shows it.")
    return name, raw or b"/"
