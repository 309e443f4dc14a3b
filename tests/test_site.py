"""The documentation as a site: it builds, and it does not where a symbol is undocumented or a link broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
pytest.importorskip("mkdocs", reason="the site is built with the packages of the extra dev")

ROOT = Path(__file__).parent.parent
PACKAGE = '"""A package."""\n\nfrom s5rl.part import thing as thing\n'
DOCUMENTED = '"""A part."""\n\n\ndef thing():\n    """Does something."""\n'
FIELDS = """\"\"\"A part.\"\"\"

class thing:
    \"\"\"A class.

    Attributes:
      a: documented.
    \"\"\"

    a: int = 0
"""


def build(folder: Path) -> tuple[int, str]:
    """Builds the site of a folder as `make docs` does; returns the exit status and what was said."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder / "built")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of this checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("docs", "s5rl", "mkdocs.yml"):
        (folder / name).symlink_to(ROOT / name)
    status, said = build(folder)
    assert status == 0, said
    return folder / "built"


@pytest.fixture
def small(tmp_path) -> Path:
    """A site of one API page and one other page, with the hooks and the settings of ours."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    del settings["nav"]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    for name in ("docs/api", "docs/style", "s5rl"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("_api.py", "_equations.py", "style/extra.css"):
        shutil.copy(ROOT / "docs" / name, tmp_path / "docs" / name)
    (tmp_path / "docs" / "api" / "index.md").write_text("# API\n\npublic names of s5rl\n")
    (tmp_path / "docs" / "index.md").write_text("# Page\n\nSee [the API](api/index.md#s5rl.thing).\n")
    (tmp_path / "s5rl" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "s5rl" / "part.py").write_text(DOCUMENTED)
    return tmp_path


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    loading = re.compile(r"""<(?:script|img|link|iframe)[^>]*(?:src|href)=["']?https?://[^>]*""")
    found = {page.name: loading.findall(page.read_text()) for page in pages}
    assert {name: tags for name, tags in found.items() if tags} == {}


def test_equations_are_rendered(site):
    page = (site / "agents" / "index.html").read_text()
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') >= 3
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"\$<code>|language-math", text), page
        prose = re.sub(r"<(pre|code|script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert "$" not in prose, page  # another form of equation, which is shown as it stands


def test_every_package_with_public_names_has_an_api_page():
    shown = "\n".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "s5rl").rglob("__init__.py")
        if re.search(r"^from s5rl\S* import (\w+) as \1$", path.read_text(), re.MULTILINE)
    }
    missing = {name for name in packages - {"s5rl"} if f"public names of {name}\n" not in shown}
    assert missing == set()


def test_a_small_site_builds(small):
    status, said = build(small)
    assert status == 0, said
    assert "Does something." in (small / "built" / "api" / "index.html").read_text()


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("s5rl/part.py", '"""A part."""\n\n\ndef thing(): ...\n', "s5rl.part.thing"),
        ("s5rl/part.py", FIELDS + "    b: int = 0\n", "s5rl.part.thing.b"),
        ("s5rl/part.py", FIELDS + "    def method(self): ...\n", "s5rl.part.thing.method"),
        ("docs/index.md", "[a](missing.md)\n", "missing.md"),
        ("docs/index.md", "[a](api/index.md#nowhere)\n", "#nowhere"),
        ("docs/index.md", "# Page\n\n[a](#nowhere)\n", "#nowhere"),
        ("docs/index.md", "![a](missing.png)\n", "missing.png"),
    ],
)
def test_a_fault_ends_the_build(small, path, text, message):
    (small / path).write_text(text)
    status, said = build(small)
    assert status != 0
    assert message in said


def test_links_of_pages_outside_of_the_site_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / name).read_text()):
            path, _, anchor = target.partition("#")
            assert (ROOT / path).exists(), f"{name} leads to {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", (ROOT / (path or name)).read_text(), re.MULTILINE)
                assert anchor in {_anchor(heading) for heading in headings}, f"{name} leads to {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
