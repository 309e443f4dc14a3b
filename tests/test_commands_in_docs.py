"""Reads every command that the README and the pages show, with the parsers that would run it."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from s5rl import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^[ \t]*```(\w*)[^\n]*\n(.*?)^[ \t]*```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {
    "python": "run by tests/test_docs.py",
    "sh": "read here",
    "console": "its commands are read here; below them is what they once printed",
    "diff": "shows a change of a program that is not ours",
    "math": "rendered by docs/_equations.py; tests/test_site.py",
}
"""What is done with the blocks of a language."""
SETTING_UP = {
    ".": "activates the environment",
    "pip": "installs; make test and make test-wheel do",
    "python3.11": "makes an environment; make test-acme does",
    "python3.12": "makes an environment; make test-wheel does",
}
"""Programs whose commands are not read, and why."""


class ParsedError(Exception):
    """The words of a command were understood; what they ask for is not done."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Returns language and text of each fenced block."""
    return FENCE.findall(text)


def commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each command in the blocks of a page, comments and output left out."""
    for language, block in blocks(text):
        lines = block.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        elif language != "sh":
            continue
        yield from filter(None, (shlex.split(line, comments=True) for line in lines))


def read(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads a command without running it.

    Raises:
      AssertionError: it does not exist, or is not understood.
    """
    while re.fullmatch(r"\w+=\S*", words[0]):  # a variable of the environment
        words = words[1:]
    program = words[0].split("/")[-1]
    if program in SETTING_UP:
        return
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), words
    elif program == "s5rl":
        assert understood(lambda: cli.main(words[1:]), monkeypatch), words
        if words[1] == "launch":
            read([words[0], *words[words.index("--") + 1 :]], monkeypatch)
    else:
        assert program == "python", f"{words}: unknown program"
        script = ROOT / words[1]
        assert script.exists(), words
        assert script.parent.name in ("examples", "benchmarks"), words
        monkeypatch.setattr(sys, "argv", words[1:])
        main = load(script, monkeypatch).main
        assert understood(main, monkeypatch), words


def load(script: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Returns a program as a module under a name of its own: programs and tests share some names."""
    name = "_".join(script.relative_to(ROOT).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def understood(main: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Returns whether a program gets through its parser; it ends there."""

    def stop(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def stopped(*args: object, **kwargs: object) -> object:
            raise ParsedError

        return stopped

    real, real_commands = tyro.cli, tyro.extras.subcommand_cli_from_dict

    def parse(*args, **kwargs):
        real(*args, **kwargs)
        raise ParsedError

    def parse_commands(functions, **kwargs):
        return real_commands({name: stop(function) for name, function in functions.items()}, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(tyro, "cli", parse)
        patch.setattr(tyro.extras, "subcommand_cli_from_dict", parse_commands)
        try:
            main()
        except ParsedError:
            return True
        except SystemExit:
            return False
    return False


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_are_understood(path, monkeypatch):
    text = path.read_text()
    assert {language for language, _ in blocks(text)} <= set(LANGUAGES)
    for words in commands(text):
        read(words, monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        "s5rl train popgym/RepeatPreviousEasy --core gru --core.hiden-size 64",
        "s5rl train popgym/RepeatPreviousEasy --algorithm a2c --num-epochs 4",
        "s5rl launch -m 2 -- train memory_chain",
        "s5rl launch -n 2 -- train popgym/RepeatPreviousEasy --core gru --core.hiden-size 64",
        "s5rl learn popgym/RepeatPreviousEasy",
        "make demos",
        "python examples/popgym_ppo.py --num-stepz 3",
        "python examples/missing.py",
        "rm -r runs",
    ],
)
def test_a_wrong_command_is_found(command, monkeypatch):
    (words,) = commands(f"```sh\n{command}  # a comment\n```\n")
    with pytest.raises(AssertionError):
        read(words, monkeypatch)
