"""Causes in plain words: what an agent's report, or the lack of one, means, and what a person can do about it."""

from __future__ import annotations

from dataclasses import dataclass

from backup_platform.jobs.models import JobKind

MOST_MESSAGE = 500
EXIT_AUTHENTICATION, EXIT_TEMPORARY = 4, 5


@dataclass(frozen=True, slots=True)
class Cause:
    """One sentence of what happened, and one of what to do."""

    message: str
    advice: str


BY_EXIT_CODE = {
    1: Cause("The agent could not finish.",
             "Read the lines of its log. The command strongroom doctor on the machine looks for the usual reasons."),
    2: Cause("The agent did not understand what it was asked to do.",
             "Update the agent: it may be older than the platform."),
    3: Cause("Some sources could not be read; everything else is safe.",
             "The lines below name the reasons. Exclude what need not be kept, or run the agent as a user who may "
             "read it."),
    EXIT_AUTHENTICATION: Cause("The gateway did not accept the machine's key or certificate.",
                               "If the machine was not revoked, look at its clock and certificate: "
                               "strongroom status there shows both. Else enrol it again."),
    EXIT_TEMPORARY: Cause("Something that it needs was away: the gateway, the network, or another backup was at work.",
                          "Nothing if a later attempt succeeds; else look at the gateway and the network."),
    10: Cause("The snapshot that should be restored is not there any more.", "Choose a newer snapshot."),
    20: Cause("Data that was read back did not match what was stored.",
              "Nothing wrong was written. Choose another snapshot, and look at the list of damaged ones."),
    130: Cause("Somebody stopped it on the machine.", "Run it again when it suits."),
    137: Cause("The agent was killed on the machine.",
               "Often memory had run out: look at the system's log there at that time."),
}  # fmt: skip
BY_OUTCOME = {
    "warnings": BY_EXIT_CODE[3],
    "failed": BY_EXIT_CODE[1],
    "temporary": BY_EXIT_CODE[EXIT_TEMPORARY],
    "cancelled": BY_EXIT_CODE[130],
}
NO_CAUSE = Cause("", "")

SILENT = Cause("The machine went silent while it was at work.",
               "Is it switched on and connected, and is strongroom daemon running there?")  # fmt: skip
SILENT_FOR_GOOD = Cause("The machine went silent while it was at work, in its last attempt.", SILENT.advice)
LEFT_ALONE = Cause("The machine went silent in a backup that was begun there by hand, and did not go on with it.",
                   "Begin it there again: it goes on where this one stopped.")  # fmt: skip
NEVER_ANSWERED = Cause("It was offered to the machine for three days, and no answer came.",
                       "Restart strongroom daemon there, and look at its log; then run the policy now.")  # fmt: skip
NEVER_TAKEN = Cause(
    "For three days the machine has declined it each time it was offered.",
    "It waits for what it names: its charger, another network, other work. Change that, or what the policy's limits "
    "ask for; then run the policy now. Its next time is kept.",
)
UNANSWERED = Cause("It was offered to the machine, and no answer came.", "Nothing: it is offered again.")
MISSED = Cause(
    "It could not begin before its deadline.",
    "The machine was away, paused, busy, or outside its windows. Run it now, or move the schedule.",
)
NOT_STOPPED = Cause("It was cancelled; the machine did not confirm that it stopped.",
                    "It can write nothing more to the platform for this job.")  # fmt: skip
MACHINE_LEFT = Cause("Its machine was revoked or decommissioned.", "Nothing: it will not run any more.")
MISSED_FOR_ROOM = Cause(
    "It could not begin before its deadline: the tenant's quota of stored data was used up.",
    "Let old snapshots expire, or ask the operator of the platform for a larger quota; then run it now.",
)
NO_ROOM = Cause(
    "The tenant's quota of stored data is used up: no new backup begins until there is room.",
    "Nothing stored is lost. Let old snapshots expire, or ask the operator of the platform for a larger quota; it "
    "begins by itself then.",
)
BEGUN_ANEW = "The agent does not hold it any more; it is begun anew."


def explain(outcome: str, exit_code: int | None, message: str, advice: str, kind: str = JobKind.BACKUP) -> Cause:
    """What to show for a report: the agent's own words where it gave some, ours where it did not."""
    if outcome == "done":
        return NO_CAUSE
    known = BY_OUTCOME.get(outcome, NO_CAUSE)
    if outcome in ("failed", "temporary") and exit_code is not None:
        known = BY_EXIT_CODE.get(exit_code, known)
    if outcome == "warnings" and kind == JobKind.RESTORE:
        known = Cause("Some files could not be restored as they were.", "The lines below name the reasons.")
    return Cause(clean_text(message) or known.message, clean_text(advice) or known.advice)


def never_taken(reason: str) -> Cause:
    """Why a job is given up that its machine has declined all the time, `reason` being what it said last."""
    said = NEVER_TAKEN.message
    last = clean_text(reason, MOST_MESSAGE - len(said) - 30)
    return Cause(f"{said} It says: {last}" if last else said, NEVER_TAKEN.advice)


def clean_text(text: str, most: int = MOST_MESSAGE) -> str:
    """Text of an agent, fit for a page and a log: on one line, printable, of bounded length."""
    line = " ".join("".join(one if one.isprintable() else " " for one in str(text)[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"
