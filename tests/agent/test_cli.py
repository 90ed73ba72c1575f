"""The command as scripts meet it: exit codes, JSON, one clear sentence, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from protocol.wire import RemoteProtocolError, messages
from tests.agent.scripted_gateway import make_home, scripted

REPOSITORY = Path(__file__).resolve().parents[2]


def strongroom(*arguments: str, home: Path, **options) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "STRONGROOM_AGENT_HOME": str(home),
        "LC_ALL": "C",
        **options.pop("env", {}),
    }
    return subprocess.run(
        [sys.executable, "-m", "agents", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=options.pop("stdin", subprocess.DEVNULL),
        **options,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nonsense"], 2, "No such command"),
        (["backup"], 2, "Missing argument"),
        (["backup", "--nonsense", "/"], 2, "--nonsense"),
        (["backup", "/nowhere/at/all"], 2, "None of the paths exists"),
        (["backup", "/etc/hostname", "--exclude-file", "/nowhere"], 2, "cannot be read"),
        (["backup", "/etc/hostname"], 4, "not enrolled"),
        (["snapshots"], 4, "not enrolled"),
        (["snapshots", "--machine", "other"], 2, "kit"),
        (["restore", "latest"], 2, "--target"),
        (["restore", "latest:relative", "--target", "t"], 2, "not absolute"),
        (["restore", "latest:/a/../b", "--target", "t"], 2, "'..'"),
        (["restore", ":/a", "--target", "t"], 2, "before the colon"),
        (["status"], 4, "not enrolled"),
        (["doctor"], 4, "not enrolled"),
        (["enroll"], 2, "no terminal"),
        (["enroll", "https://example.org"], 2, "strongroom://"),
        (["enroll", "-"], 2, "strongroom://"),
        (["vault", "create"], 2, "--out"),
        (["vault", "create", "--out", "kit"], 2, "no terminal to ask"),
    ],
)
def test_every_fault_is_a_code_and_a_sentence(tmp_path: Path, arguments: list[str], code: int, says: str):
    said = strongroom(*arguments, home=tmp_path / "agent", cwd=tmp_path)
    assert said.returncode == code, said
    assert says in said.stderr + said.stdout
    assert "Traceback" not in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_are_json_on_standard_error_when_asked(tmp_path: Path):
    said = strongroom("snapshots", "--json", home=tmp_path / "agent")
    fault = json.loads(said.stderr.splitlines()[-1])
    assert (fault["message_type"], fault["code"], said.returncode) == ("exit_error", 4, 4)
    assert said.stdout == ""


def test_help_and_version_load_neither_keys_nor_sockets(tmp_path: Path):
    program = (
        "import sys, agents.cli\n"
        "code = agents.cli.run(['--help'])\n"
        "heavy = {'ssl', 'socket', 'sqlite3', 'cryptography', 'Crypto', 'msgspec', 'blake3', 'rich', 'asyncio'}\n"
        "print(code, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 []", done
    assert "Exit codes" in done.stdout
    assert strongroom("--version", home=tmp_path).stdout.startswith("strongroom")


def test_gateway_that_is_away_is_code_5(tmp_path: Path):
    make_home(tmp_path / "agent", 1)
    said = strongroom("backup", "/etc/hostname", "--retry-for", "0", home=tmp_path / "agent")
    assert said.returncode == 5
    assert "Nothing listens at 127.0.0.1:1" in said.stderr


def test_interrupt_is_code_130_and_says_no_traceback(tmp_path: Path):
    with scripted(tmp_path, lambda peer: (peer.welcome(), peer.wait_for_end())) as (gateway, home):
        child = subprocess.Popen(
            [sys.executable, "-m", "agents", "snapshots"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "STRONGROOM_AGENT_HOME": str(home.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for peer in wait_for_peers(gateway):
            peer.greeted.wait(20)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_backup_that_is_interrupted_ends_at_once_and_frees_its_home(tmp_path: Path, number: int):
    """The gateway acknowledges nothing, so window and pipeline are full when the signal comes."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(8 << 20))
    put = threading.Event()

    def silent(peer) -> None:
        with contextlib.suppress(RemoteProtocolError):  # an agent that is interrupted may be in the middle of a frame
            answer_for_ever(peer)

    def answer_for_ever(peer) -> None:
        peer.welcome()
        peer.begin()
        while True:
            event = peer.next()
            if isinstance(event.message, messages.Question):
                count = len(event.message.ids) // 32
                bits = (1 << count) - 1
                peer.send(messages.Answer(missing=bits.to_bytes((count + 7) // 8, "little")), event.request)
            elif isinstance(event.message, messages.Put):
                put.set()

    with scripted(tmp_path, silent) as (_, home):
        child = subprocess.Popen(
            [sys.executable, "-m", "agents", "backup", str(source), "--no-wait"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "STRONGROOM_AGENT_HOME": str(home.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert put.wait(30)
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
        assert (child.returncode, "Traceback" in err) == (130, False), err
        with home.locked():
            pass


def wait_for_peers(gateway):
    import time

    deadline = time.monotonic() + 20
    while not gateway.peers and time.monotonic() < deadline:
        time.sleep(0.02)
    return gateway.peers


def test_vault_create_makes_a_kit_warns_and_rebuild_makes_it_again(tmp_path: Path):
    out = tmp_path / "kit"
    said = strongroom("vault", "create", "--out", str(out), "--generate", "--json", home=tmp_path / "agent")
    assert said.returncode == 0, said
    summary = json.loads(said.stdout.splitlines()[-1])
    assert summary["message_type"] == "summary"
    assert len(summary["passphrase"].split()) == 6 or summary["passphrase"].count("-") == 5
    assert "loses the data" in said.stderr
    assert (out / "vault-registration.json").exists()
    assert oct(out.stat().st_mode & 0o777) == "0o700"
    env = {"STRONGROOM_PASSPHRASE": "x y z"}
    rebuilt = strongroom(
        *("vault", "rebuild", "--keys", str(out), "--registration", str(out / "vault-registration.json")),
        *("--out", str(tmp_path / "again"), "--json"),
        home=tmp_path / "agent",
        env={"STRONGROOM_PASSPHRASE": summary["passphrase"]},
    )
    assert json.loads(rebuilt.stdout.splitlines()[-1])["vault_id"] == summary["vault_id"], rebuilt
    assert (tmp_path / "again" / "enrolment-key.json").read_bytes() == (out / "enrolment-key.json").read_bytes()
    again = strongroom("vault", "create", "--out", str(out), home=tmp_path / "agent", env=env)
    assert again.returncode == 1
    empty = strongroom("vault", "create", "--out", "k", home=tmp_path, env={"STRONGROOM_PASSPHRASE": ""})
    assert empty.returncode == 2


@pytest.mark.parametrize("arguments", [[], ["vault"]])
def test_command_without_a_verb_shows_its_help_as_it_is(tmp_path, arguments):
    done = strongroom(*arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: strongroom")
    assert "\n  -h, --help" in done.stderr
    assert "\\n" not in done.stderr


@pytest.mark.parametrize(("passphrase", "warned"), [("short", True), ("six random words are long enough", False)])
def test_short_passphrase_of_a_new_kit_is_warned_of(tmp_path, passphrase, warned):
    done = strongroom(
        "vault", "create", "--out", str(tmp_path / "kit"), home=tmp_path, env={"STRONGROOM_PASSPHRASE": passphrase}
    )
    assert done.returncode == 0, done.stderr
    assert ("may guess it" in done.stderr) is warned
    assert passphrase not in done.stderr


def test_long_path_in_a_complaint_is_shown_by_its_ends(capsys):
    from agents.commands.output import LONGEST_SHOWN, Output

    Output(as_json=False).complain(b"/begin" + b"x" * 60_000 + b"/end", "it is long")
    said = capsys.readouterr().err
    assert len(said) < LONGEST_SHOWN + 50
    assert said.startswith("/begin")
    assert "/end: it is long" in said


def test_output_that_cannot_be_written_is_said_in_words(tmp_path):
    with open("/dev/full", "w") as full:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "STRONGROOM_AGENT_HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-u", "-m", "agents", "--help"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreadable_source_is_no_wrong_usage(tmp_path):
    """A path that cannot be read is named like any other; it must not keep the others from being saved."""
    import click

    from agents.commands.backup import command

    paths = next(each for each in command.params if each.name == "paths")
    assert isinstance(paths.type, click.Path)
    assert not paths.type.readable
