"""The systemd unit of the daemon, and systemd asked to run it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from agents.errors import AgentError, Refused, UsageFault

NAME = "strongroom-agent.service"
SYSTEM, USER = Path("/etc/systemd/system"), Path("~/.config/systemd/user")
ASK_SECONDS = 60.0
_UNIT = """\
[Unit]
Description=Strongroom backup agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={command} daemon
ExecReload=/bin/kill -HUP $MAINPID
Environment={environment}
Restart=always
RestartSec=5
# The daemon interrupts its jobs itself and waits for them; what is left then is killed.
KillMode=mixed
TimeoutStopSec=90
UMask=0077
OOMPolicy=continue
{hardening}
[Install]
WantedBy={target}
"""
# A backup agent has to read every file, with its owner and attributes, and a restore may write where agent.toml says.
# So its view of the files stays whole; what it never needs is taken from it.
_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_FSETID CAP_SETFCAP
CapabilityBoundingSet=CAP_SYS_NICE CAP_KILL CAP_SETUID CAP_SETGID
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
SystemCallArchitectures=native
"""
_USER_HARDENING = "NoNewPrivileges=yes\nRestrictRealtime=yes\nLockPersonality=yes\n"


def unit(home: Path, *, user: bool) -> str:
    """The unit's text. Raises UsageFault for a home that no unit can name."""
    return _UNIT.format(
        command=_quoted_command(),
        environment=_environment(home),
        hardening=_USER_HARDENING if user else _HARDENING,
        target="default.target" if user else "multi-user.target",
    )


def unit_path(*, user: bool) -> Path:
    """Where the unit lies."""
    return (USER.expanduser() if user else SYSTEM) / NAME


def install(home: Path, *, user: bool) -> Path:
    """Write the unit, enable it and start it. Raises AgentError."""
    text, path = unit(home, user=user), unit_path(user=user)
    _require_systemd()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as fault:
        raise Refused(
            f"{path} cannot be written: {(fault.strerror or '').lower()}.",
            "Run it as root, or with --user for a service of your own.",
        ) from fault
    for words in (["daemon-reload"], ["enable", "--now", NAME]):
        _systemctl(words, user=user)
    return path


def uninstall(*, user: bool) -> Path:
    """Stop the service and remove the unit. Raises AgentError."""
    path = unit_path(user=user)
    if not path.exists():
        raise Refused(f"There is no {path}.", "Nothing is to be done.")
    _require_systemd()
    _systemctl(["disable", "--now", NAME], user=user)
    path.unlink()
    _systemctl(["daemon-reload"], user=user)
    return path


def status(*, user: bool) -> str:
    """systemd's word for the service: active, inactive, failed, … Raises AgentError where there is no systemd."""
    _require_systemd()
    return _run(["is-active", NAME], user=user).stdout.strip() or "unknown"


def has_systemd() -> bool:
    """Whether systemd runs this machine."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def _require_systemd() -> None:
    if not has_systemd():
        raise Refused(
            "systemd does not run this machine.",
            "Have your own supervisor run `strongroom daemon` in the foreground; it ends cleanly at SIGTERM. "
            "`strongroom service install --print` shows what a unit would say.",
        )


def _systemctl(words: list[str], *, user: bool) -> None:
    done = _run(words, user=user)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise AgentError(f"systemctl {words[0]} failed: {said[-1] if said else 'no reason given'}.", "See journalctl.")


def _run(words: list[str], *, user: bool) -> subprocess.CompletedProcess[str]:
    command = ["systemctl", *(["--user"] if user else []), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise AgentError(
            f"systemctl {words[0]} could not be run ({type(fault).__name__}).", "Run it by hand."
        ) from None


def _installed() -> Path | None:
    command = Path(sys.executable).with_name("strongroom")
    return command if command.exists() else None


def _quoted_command() -> str:
    """How this very program is started: the installed command, or the module from a checkout."""
    installed = _installed()
    return _quoted(str(installed)) if installed else f"{_quoted(sys.executable)} -m agents"


def _environment(home: Path) -> str:
    words = [_quoted(f"STRONGROOM_AGENT_HOME={home}")]
    if _installed() is None:
        words.append(_quoted(f"PYTHONPATH={Path(__file__).resolve().parents[2]}"))
    return " ".join(words)


def _quoted(text: str) -> str:
    """A word of a unit: quoted, with what systemd would expand escaped."""
    if any(not c.isprintable() for c in text):
        raise UsageFault("The path of the agent's home has characters that no unit can hold.", "Use another home.")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
