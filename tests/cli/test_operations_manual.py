"""The operator's manual knows every state a session can be in, every exit code, and every file of the state folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli import exits
from gateway.states import REASONS
from tests.running import run_gateway

DOCS = Path(__file__).parents[2] / "docs"
MANUAL = (DOCS / "operations.md").read_text()


def test_every_reason_is_in_the_manual_under_its_status_and_no_other() -> None:
    listed = re.findall(r"^\| (\w+) \| `(\w+)` \|", MANUAL, re.MULTILINE)
    assert sorted(listed) == sorted((reason.status.value, code) for code, reason in REASONS.items())


def test_what_the_gateway_does_by_itself_is_said_to() -> None:
    for line in re.findall(r"^\| \w+ \| `.*$", MANUAL, re.MULTILINE):
        code = line.split("`")[1]
        assert REASONS[code].retry == ("by itself" in line), line


def test_every_exit_code_is_in_the_manual() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    table = MANUAL.partition("## Exit codes")[2].partition("\n## ")[0]
    listed = {int(code) for row in re.findall(r"^\| ([0-9, ]+)", table, re.MULTILINE) for code in row.split(",")}
    assert codes <= listed | {130}


async def test_every_file_of_the_state_folder_is_in_the_manual(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "state") as running:
        await running.linked()
        files = {path.name for path in running.state.iterdir()}
    assert len(files) > 4
    for name in files:
        assert f"`{name}`" in MANUAL or f"`{name}/`" in MANUAL, name


@pytest.mark.parametrize("page", ["operations.md", "install.md", "metrics.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        there = (DOCS / file).resolve() if file else DOCS / page
        assert there.exists(), f"{page} points at {target}"
        if anchor:
            headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                        for line in there.read_text().splitlines() if line.startswith("#")}
            assert anchor in headings, f"{page} points at {target}"
