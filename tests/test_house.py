"""The rules of the house that no linter knows, each beside a planted fault that it must find."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "s5rl").rglob("*.py"))

MAY_IMPORT = {
    "compat": set(),
    "validation": set(),
    "types": {"compat", "validation"},
    "compilation_cache": {"compat"},
    "key_data": {"types"},
    "references": set(),
    "launching": set(),
    "description": {"references"},
    "losses": {"compat", "validation", "types"},
    "envs": {"compat", "validation", "types", "key_data"},
    "cores": {"compat", "validation", "types"},
    "networks": {"compat", "validation", "types", "cores"},
    "agents": {"compat", "validation", "types", "cores", "networks", "losses"},
    "training": {
        *("compat", "validation", "types", "key_data", "references", "description", "launching"),
        *("cores", "networks", "agents", "losses", "envs"),
    },
}
"""What each part of s5rl may import beside itself; compat holds what differs between versions of packages."""
UNBOUND = {
    "__init__",
    "__main__",
    "acme",
    "cli",
    "commands",
    "conformance",
    "learning_curves",
    "plots",
    "report_card",
}
"""Parts that may import everything, and that no part above imports."""

MAX_LINES = 400


def foreign_imports(part: str, package: str, source: str) -> list[str]:
    """Returns the parts of s5rl that a file of `part`, inside `package`, imports but must not."""
    if part in UNBOUND:
        return []
    if part not in MAY_IMPORT:
        return [f"{part} has no place in MAY_IMPORT"]
    return [
        f"{part} imports {other}"
        for other in _imported_parts(package, source)
        if other != part and other not in MAY_IMPORT[part]
    ]


def _imported_parts(package: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join([*base, node.module or ""]) if node.level else node.module or ""
            modules = [f"{module.rstrip('.')}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            if module.split(".")[0] == "s5rl":
                yield [*module.split("."), "__init__"][1]


def open_classes(source: str) -> list[str]:
    """Returns the classes that are neither abstract nor final."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and not (_is_abstract(node) or _is_final(node))
    ]


def _is_abstract(node: ast.ClassDef) -> bool:
    bases = [_last_name(base) for base in node.bases]
    if any(re.search(r"^(Protocol|NamedTuple|TypedDict)$|(Enum|Flag)$", base) for base in bases):
        return True
    if any(re.search(r"(Error|Exception|Warning)$", base) for base in bases):
        return True
    has_abstract_method = any(
        _last_name(decorator) == "abstractmethod"
        for item in node.body
        if isinstance(item, ast.FunctionDef)
        for decorator in item.decorator_list
    )
    return bool(bases) and has_abstract_method


def _is_final(node: ast.ClassDef) -> bool:
    return any(_last_name(decorator) == "final" for decorator in node.decorator_list)


def _last_name(node: ast.expr) -> str:
    """Returns `Name` of `Name`, `module.Name`, `Name[...]` and `Name(...)`."""
    return re.split(r"[\[(]", ast.unparse(node))[0].split(".")[-1]


def undocumented(source: str) -> list[str]:
    """Returns the public functions, classes and methods without a docstring."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")

    return list(walk(ast.parse(source).body, ""))


# The words are put together here so that this file does not hold them.
FORBIDDEN = re.compile(
    "|".join(
        [
            *("py" + "pi.org", "py" + "pi.python", "python" + "hosted", "ana" + "conda.org"),
            *("--index" + "-url", "--extra-index" + "-url", "--find" + "-links"),
            r"(?<![\w.*}])/(?:" + "|".join(["work", "root", "tmp", "home", "Users", "opt"]) + ")/",
        ]
    ),
    re.IGNORECASE,
)


def bound_to_a_place(text: str) -> list[str]:
    """Returns the names of package hosts and the absolute paths of one machine."""
    return FORBIDDEN.findall(text)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _part(path: Path) -> str:
    return path.relative_to(ROOT / "s5rl").with_suffix("").parts[0]


def _package(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_source_keeps_the_rules(path):
    source = path.read_text()
    assert foreign_imports(_part(path), _package(path), source) == []
    assert open_classes(source) == []
    assert undocumented(source) == []
    assert len(source.splitlines()) <= MAX_LINES


def test_tracked_files_name_no_place():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    found = {}
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            found[name] = bound_to_a_place(content.decode())
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    ("part", "package", "source", "fault"),
    [
        ("cores", "s5rl.cores", "from s5rl.agents import a2c", "cores imports agents"),
        ("cores", "s5rl.cores", "import s5rl.networks.heads", "cores imports networks"),
        ("cores", "s5rl.cores", "from s5rl import make_agent", "cores imports make_agent"),
        ("cores", "s5rl.cores", "import s5rl", "cores imports __init__"),
        ("cores", "s5rl.cores", "from .. import agents", "cores imports agents"),
        ("envs", "s5rl.envs.popgym", "from ...training import loop", "envs imports training"),
        ("agents", "s5rl.agents", "def f():\n  from s5rl.envs import x", "agents imports envs"),
        ("losses", "s5rl.losses", "from s5rl import cores", "losses imports cores"),
        ("agents", "s5rl.agents", "from s5rl.plots import curve", "agents imports plots"),
        ("memory", "s5rl", "", "memory has no place in MAY_IMPORT"),
    ],
)
def test_wrong_imports_are_found(part, package, source, fault):
    assert foreign_imports(part, package, source) == [fault]


@pytest.mark.parametrize(
    "source",
    [
        "import s5rl_tools\nimport jax",
        "from s5rl.types import Array",
        "from . import base",
        "from .base import RecurrentCore",
        "from ..types import Array",
    ],
)
def test_right_imports_pass(source):
    assert foreign_imports("cores", "s5rl.cores", source) == []


@pytest.mark.parametrize(
    "source",
    [
        "class A: pass",
        "class A(abc.ABC):\n  def f(self): ...",
        "class A(Base): pass",
        "@dataclasses.dataclass(frozen=True)\nclass A(Base): pass",
        "def f():\n  class A: pass",
    ],
)
def test_open_classes_are_found(source):
    assert open_classes(source) == ["A"]


@pytest.mark.parametrize(
    "source",
    [
        "@final\nclass A: pass",
        "@typing.final\n@dataclass(frozen=True)\nclass A(Base): pass",
        "class A(abc.ABC):\n  @abc.abstractmethod\n  def f(self): ...",
        "class A(Protocol[T]): pass",
        "class A(typing.NamedTuple): pass",
        "class A(ValueError): pass",
        "class A(enum.IntEnum): pass",
    ],
)
def test_closed_classes_pass(source):
    assert open_classes(source) == []


def test_missing_docstrings_are_found():
    source = 'def f(): ...\nclass A:\n  """A."""\n  def g(self): ...\n  def _h(self): ...'
    assert undocumented(source) == ["f", "A.g"]


@pytest.mark.parametrize(
    "text",
    [
        "https://" + "py" + "pi.org/simple",
        "open('" + "/ro" + "ot/x')",
        "see " + "/tm" + "p/x",
        "pip install --index" + "-url x",
    ],
)
def test_places_are_found(text):
    assert bound_to_a_place(text)


@pytest.mark.parametrize("text", ["shared/root/x", "$HOME/tmp", "/path/to/python", "dm_env/opt/x"])
def test_other_paths_pass(text):
    assert not bound_to_a_place(text)
