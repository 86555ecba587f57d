"""What the pages tell people to type, they can type: every command and option of `sms-worker` that the docs name exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from worker.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ROOT_COMMAND = typer.main.get_command(app)


def commands(page: Path) -> list[str]:
    """Every `sms-worker ...` in code: a fenced line, or between backticks in running text."""
    text = page.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    fenced = [line for language, block in blocks if language in ("", "sh", "bash") for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    found = [
        match[1]
        for code in (*fenced, *inline)
        for match in re.finditer(r"(?:^|(?<!--namespace)[\s/(|])(sms-worker(?: [^#|&;>]+)?)", code)
    ]
    return [re.sub(r"\\$", "", each).strip() for each in found if not each.startswith("sms-worker --namespace")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    for written in commands(page):
        words = shlex.split(written)[1:]
        command = ROOT_COMMAND
        while words and hasattr(command, "commands") and not words[0].startswith(("-", "[", "…", "...")):
            names = words[0].split("|")  # `suppress add|remove`
            assert set(names) <= set(command.commands), f"{page.name}: {written}"
            command, words = command.commands[names[0]], words[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
            "--help"
        }
        for word in words:
            if word.startswith("--"):
                for option in word.split("=")[0].split("|"):
                    assert option in known, f"{page.name}: {written}: {option}"


def test_the_pages_name_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        its = page.parent / name if name else page
        assert its.exists(), f"{page.name}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", its.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert heading in anchors, f"{page.name}: {target}"


# These need no server, and change nothing: what a page tells people to type is typed.
HARMLESS = {"explain": 0, "preview": 0, "check": 0, "segments": 0, "lint-text": 1}
TYPED = sorted(
    {
        each
        for page in PAGES
        for each in commands(page)
        if each.split()[1:2] and each.split()[1] in HARMLESS and "--config" not in each and "TEMPLATE" not in each
        and not set(each) & set("[{") and "parcel" not in each and "EVENT" not in each and "--topic" not in each and "--message-id" not in each
        and (len([w for w in each.split() if not w.startswith("--")]) > 2 or each.split()[1] == "check") and "|" not in each and "ID" not in each.split()
    }
)  # fmt: skip


@pytest.mark.parametrize("written", TYPED)
def test_a_harmless_command_does_what_its_page_says(written: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(written)[1:]

    answer = CliRunner().invoke(app, words)

    assert answer.exit_code == HARMLESS[words[0]], answer.output


def test_enough_commands_are_typed() -> None:
    assert {each.split()[1] for each in TYPED} >= {"explain", "preview", "check", "segments", "lint-text"}
