"""The documents tell the truth about commands, options, variables and each other: people follow them literally."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
from django.core.management import get_commands, load_command_class

from agents.cli import VERBS
from backup_platform.jobs import causes

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
MANUAL, VERBS_PAGE = ROOT / "docs/reference/manage.md", ROOT / "docs/reference/cli.md"
SETTINGS = [ROOT / "docs/operations" / name for name in ("settings.md", "notifications.md")]
CODE = ("backup_platform", "agents", "workers", "protocol")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
VARIABLE = re.compile(r"\b(?:STRONGROOM|DJANGO|DATABASE|REDIS|DEMO|AWS)_[A-Z0-9_]*[A-Z0-9]\b")
# How the code asks its environment: by these functions, or by a mapping called "environ" or "environment".
READING = re.compile(
    r"(?:read_setting|read_key|read_number|read_list|environ(?:ment)?\.get|environ(?:ment)?|getenv)[(\[]\s*f?\"([A-Z][A-Z0-9_]+)\""
)
NOT_FOR_PEOPLE = {
    "STRONGROOM_DATABASE_ROLE",  # manage.py tells its own settings
    "AWS_ENDPOINT_URL_S3",  # another name of AWS_ENDPOINT_URL, for who has it set already
}
GIVEN_TO_HOOKS = {"STRONGROOM_JOB", "STRONGROOM_OUTCOME", "STRONGROOM_POLICY"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def our_commands() -> dict[str, set[str]]:
    """Each management command of ours with its own options, without Django's."""
    found = {}
    for name, app in get_commands().items():
        if isinstance(app, str) and app.startswith("backup_platform."):
            parser = load_command_class(app, name).create_parser("manage.py", name)
            found[name] = {option for one in parser._actions for option in one.option_strings if option in wanted(one)}
    return found


def wanted(argument) -> set[str]:
    """An argument's long options; none of Django's own, which every command has."""
    own = argument.dest not in {"help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color",
                                "force_color", "skip_checks"}  # fmt: skip
    return {option for option in argument.option_strings if own and option.startswith("--")}


def headings(page: Path) -> dict[str, set[str]]:
    """Commands in the third headings of a page, each with the options that stand behind it."""
    found: dict[str, set[str]] = {}
    for line in text_of(page).splitlines():
        if line.startswith("### "):
            for usage in re.findall(r"`([^`]+)`", line):
                found.setdefault(usage.split()[0], set()).update(OPTION.findall(usage))
    return found


def test_the_manual_names_every_command_with_exactly_its_options():
    told, there = headings(MANUAL), our_commands()
    assert set(there) <= set(told)
    assert set(told) - set(there) == {"createsuperuser", "changepassword"}, "Django's own, which people need"
    for name, options in there.items():
        assert told[name] == options, name


def options_of(command: click.Command) -> set[str]:
    """A verb's long options that people are shown, those of its own verbs too."""
    found = {
        option
        for one in command.params
        if isinstance(one, click.Option) and not one.hidden
        for option in (*one.opts, *one.secondary_opts)
        if option.startswith("--")
    }
    for child in getattr(command, "commands", {}).values():
        found |= options_of(child)
    return found


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_page_of_strongroom_names_every_option_of_a_verb(verb):
    command = importlib.import_module(VERBS[verb][0]).command
    told = set(OPTION.findall(text_of(VERBS_PAGE)))
    assert options_of(command) <= told | {"--help"}
    assert f"### `{verb}" in text_of(VERBS_PAGE)


def uses() -> list[tuple[str, str, set[str]]]:
    """Every `manage.py COMMAND …` and `strongroom VERB …` in the documents: page, command, options."""
    pattern = re.compile(r"(manage\.py|strongroom) ([a-z_]+)((?:[^`\n\\;|#&]|\\\n)*)")
    known = {"manage.py": set(our_commands()), "strongroom": set(VERBS)}
    return [
        (str(page.relative_to(ROOT)), f"{door} {name}", set(OPTION.findall(rest)))
        for page in PAGES
        for door, name, rest in pattern.findall(text_of(page))
        if name in known[door]
    ]


def test_no_page_uses_an_option_that_a_command_does_not_have():
    there = {f"manage.py {name}": options for name, options in our_commands().items()}
    there |= {f"strongroom {verb}": options_of(importlib.import_module(VERBS[verb][0]).command) for verb in VERBS}
    seen = uses()
    assert len(seen) > 50, "the pattern finds no commands any more"
    unknown = [(page, name, options - there[name] - {"--help"}) for page, name, options in seen]
    assert [one for one in unknown if one[2]] == []


def variables_read() -> set[str]:
    """What our programs ask their environment for."""
    files = [path for part in CODE for path in (ROOT / part).rglob("*.py")] + [ROOT / "manage.py"]
    found: set[str] = set()
    for path in files:
        if "tests" not in path.parts and path.name != "test.py":
            text = text_of(path)
            found |= {name for name in READING.findall(text) if VARIABLE.fullmatch(name)}
            found |= {name for name in re.findall(r'^[A-Z_]+ = "([A-Z0-9_]+)"', text, re.MULTILINE)
                      if VARIABLE.fullmatch(name)}  # fmt: skip
    return found - NOT_FOR_PEOPLE


def test_every_variable_that_the_code_reads_stands_in_a_page_of_settings():
    told = {name.removesuffix("_FILE") for page in [*SETTINGS, VERBS_PAGE] for name in VARIABLE.findall(text_of(page))}
    read = variables_read()
    assert len(read) > 30, "the pattern finds no variables any more"
    assert sorted(read - told) == []


def test_no_page_names_a_variable_that_nobody_reads():
    code = "".join(text_of(path) for part in CODE for path in (ROOT / part).rglob("*.py")) + text_of(ROOT / "Makefile")
    known = set(VARIABLE.findall(code)) | GIVEN_TO_HOOKS
    told = {(page.name, name) for page in PAGES if "decisions" not in page.parts and page.name != "benchmarks.md"
            for name in VARIABLE.findall(text_of(page))}  # fmt: skip
    assert sorted((page, name) for page, name in told if name.removesuffix("_FILE") not in known) == []


def test_the_page_about_failed_jobs_knows_every_cause():
    told = text_of(ROOT / "docs/how-to/read-a-failed-job.md")
    known = [*vars(causes).values(), *causes.BY_EXIT_CODE.values()]
    heads = {re.split(r"[,:;.]", one.message)[0] for one in known if isinstance(one, causes.Cause) and one.message}
    assert sorted(head for head in heads if head not in told) == []


def test_links_between_pages_lead_somewhere():
    pattern = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
    links = [(page, link) for page in PAGES for link in pattern.findall(text_of(page)) if "://" not in link]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("part", ["how-to", "operations", "reference"])
def test_every_page_is_listed_where_its_part_begins(part):
    listed = text_of(ROOT / "docs" / part / "README.md")
    pages = [page.name for page in (ROOT / "docs" / part).glob("*.md") if page.name != "README.md"]
    assert [name for name in pages if f"({name})" not in listed] == []
