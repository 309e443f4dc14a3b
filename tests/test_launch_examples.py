"""The files for clusters: what they would start is written down, and read by s5rl's own parser."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from s5rl.cli import main
from s5rl.commands import train as train_module

FOLDER = Path(__file__).parent.parent / "examples" / "launch"


@pytest.fixture
def run(tmp_path):
    """Runs words in which s5rl and SLURM only write down what they are given, and returns that."""

    def run(*words, status=0, **variables):
        for name in ("s5rl", "srun", "scontrol"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >{tmp_path}/{name}\nexit {status}\n")
            program.chmod(0o755)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        variables = {"PATH": path, "HOME": "here", **variables}
        outcome = subprocess.run(words, env=variables, check=False, timeout=10)
        assert outcome.returncode == status
        return {file.name: file.read_text().split("\0")[:-1] for file in tmp_path.glob("s*")}

    return run


@pytest.fixture
def parse(monkeypatch):
    """Returns the flags that words after `s5rl` mean."""

    def parse(*words):
        seen = []
        monkeypatch.setattr(train_module, "_train", lambda flags, *_: seen.append(flags) or 0)
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 0
        return seen[0]

    return parse


@pytest.fixture(scope="module")
def manifests():
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}


def test_slurm_starts_s5rl(run, parse):
    started = run("bash", str(FOLDER / "slurm.sh"), SLURM_JOB_ID="7", RUNS="runs with a space")
    assert set(started) == {"srun"}
    wait, program, *words = started["srun"]
    assert (wait, program) == ("--wait=60", "s5rl")
    flags = parse(*words)
    assert (flags.distributed, flags.coordinator) == (True, None)  # which JAX finds
    assert flags.directory == Path("runs with a space/repeat_previous_hard")
    assert flags.num_steps == 15_000_000


@pytest.mark.parametrize(("status", "is_requeued"), [(130, True), (1, False), (137, False)])
def test_slurm_queues_again_what_was_stopped_and_not_what_failed(run, status, is_requeued):
    started = run("bash", str(FOLDER / "slurm.sh"), status=status, SLURM_JOB_ID="7")
    assert started.get("scontrol") == (["requeue", "7"] if is_requeued else None)


def test_slurm_has_a_process_for_each_gpu():
    lines = (FOLDER / "slurm.sh").read_text().splitlines()
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if "#SBATCH" in line)
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["signal"] == "TERM@120"
    assert {"requeue", "open-mode"} <= set(options)


def test_kubernetes_starts_s5rl(run, parse, manifests):
    container = manifests["Job"]["spec"]["template"]["spec"]["containers"][0]
    started = run(*container["command"], *container["args"], JOB_COMPLETION_INDEX="1")
    flags = parse(*started["s5rl"])
    assert (flags.distributed, flags.coordinator) == (True, "s5rl-0.s5rl:12345")
    assert (flags.num_processes, flags.process_index) == (2, 1)
    (mount,) = container["volumeMounts"]
    assert flags.directory.is_relative_to(mount["mountPath"])


def test_the_parts_of_the_manifest_go_together(manifests):
    service, job = manifests["Service"], manifests["Job"]
    name, spec, pod = job["metadata"]["name"], job["spec"], job["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    script = pod["containers"][0]["args"][0]
    assert f"--num-processes {spec['completions']} " in script
    assert f"--coordinator {name}-0.{pod['subdomain']}:" in script
    assert [each["name"] for each in pod["volumes"]] == [
        each["name"] for each in pod["containers"][0]["volumeMounts"]
    ]
    assert pod["restartPolicy"] == "Never"  # a podFailurePolicy allows no other
