"""s5rl as it is installed in the environment of the tests."""

from __future__ import annotations

import os
import subprocess
import sys


def test_it_is_found_from_the_folder_in_which_its_clone_is(tmp_path):
    (tmp_path / "s5rl").mkdir()  # Python takes such a folder for a package where it finds no better one
    code = "from importlib.util import find_spec; print(find_spec('s5rl').origin)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip().endswith("__init__.py"), "run make: it installs s5rl anew"
