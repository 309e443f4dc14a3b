"""Tries the installed s5rl, as `make test-wheel` does in environments that hold nothing but the wheel.

Run it with that environment's Python, in an empty folder.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path

import s5rl
from s5rl import A2CConfig, ResettableS5Core, evaluate, load_policy, make_agent, make_environment, train


def main() -> None:
    """Looks at what is installed, trains, goes on, evaluates and runs the command line.

    Raises:
      RuntimeError: something is missing, or in the wrong place.
    """
    start = time.monotonic()
    check_files()
    train_and_act()
    run("envs")
    sizes = "--core.hidden-size 8 --torso-sizes 8"
    run(f"train memory_chain --env memory_length=3 --core lstm {sizes} --num-steps 256")
    run("evaluate runs/memory_chain/ppo-lstm --num-episodes 4")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("s5rl", "jax", "numpy"))
    print(f"Python {sys.version.split()[0]}, {versions}: works, {time.monotonic() - start:.0f} s.")


def check_files() -> None:
    """Looks whether s5rl is the installed one, with its type marker and licence and nothing beside it."""
    if not Path(s5rl.__file__).is_relative_to(sys.prefix):
        raise RuntimeError(f"s5rl was imported from {s5rl.__file__}, which is not in {sys.prefix}.")
    files = [file.as_posix() for file in importlib.metadata.files("s5rl") or ()]
    expected = ("s5rl/py.typed", "LICENSE", "NOTICE")
    if missing := [part for part in expected if not any(file.endswith(part) for file in files)]:
        raise RuntimeError(f"the wheel lacks {', '.join(missing)}.")
    packages = {file.split("/")[0] for file in files if not file.startswith("..")}
    if strange := {name for name in packages if name != "s5rl" and not name.startswith("s5rl-")}:
        raise RuntimeError(f"the wheel brings more than s5rl: {', '.join(sorted(strange))}.")


def train_and_act() -> None:
    """Trains for a few updates, goes on, and acts with what was learned."""
    environment = make_environment("memory_chain", memory_length=3)
    core = ResettableS5Core(state_size=8, model_size=8, num_layers=1)
    config = A2CConfig(num_envs=4, unroll_length=8, torso_sizes=(8,))
    agent = make_agent(core=core, algorithm="a2c", config=config)
    for num_steps in (64, 128):
        result = train(agent, environment, num_steps, directory=Path("run"), progress=False)
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 4)
    if result.metrics["loss"].shape != (4,) or evaluation.episode_returns.shape != (4,):
        raise RuntimeError(f"got {result.metrics['loss'].shape} and {evaluation.episode_returns.shape}.")
    load_policy("run").initial_state()


def run(words: str) -> None:
    """Runs a command of s5rl.

    Raises:
      RuntimeError: it fails; with what it said.
    """
    command = [str(Path(sys.executable).parent / "s5rl"), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"s5rl {words} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
