"""One version in all places that name one."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import s5rl
from s5rl.cli import main

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_package_has_the_version_of_the_project(capsys):
    assert version("s5rl") == s5rl.__version__ == VERSION
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"s5rl {VERSION}\n"


def test_the_newest_heading_of_the_changelog_is_the_version():
    headings = re.findall(r"^## (\S+)(?: - (\d{4}-\d{2}-\d{2}))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == VERSION


def test_a_citation_names_the_version_and_its_date():
    citation = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^(version|date-released): (.+)$", citation, re.M))
    assert fields["version"] == VERSION
    assert f"## {VERSION} - {fields['date-released']}\n" in (ROOT / "CHANGELOG.md").read_text()
