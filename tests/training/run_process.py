"""One process of a run: trains what a test asks for, and writes down what came out.

python run_process.py SPEC, a JSON text: see `tests/training/test_processes.py`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import jax
import numpy as np

from s5rl import A2CConfig, MuesliConfig, PPOConfig, ResettableS5Core, load_policy, make_agent, train
from s5rl.agents.muesli_targets import make_targets
from s5rl.envs import MemoryChain, as_dm_env
from s5rl.training import Logger, connect_processes
from s5rl.training.compiled_loop import CompiledLoop, act_on_shares
from s5rl.training.distributed import HEARTBEAT_SECONDS
from s5rl.training.layout import WHOLE, make_layout
from s5rl.types import EnvironmentSpec

NUM_ENVS, SLOTS = 8, 8
ENVIRONMENT = MemoryChain(3)
CORE = ResettableS5Core(state_size=4, model_size=4, num_layers=1)
SMALL = {"num_envs": NUM_ENVS, "unroll_length": SLOTS, "torso_sizes": (4,)}
CONFIGS = {
    "ppo": PPOConfig(**SMALL, num_minibatches=2, num_epochs=2, sequence_length=4),
    "ppo of 8 minibatches": PPOConfig(**SMALL, num_minibatches=8, num_epochs=2, sequence_length=4),
    "a2c": A2CConfig(**SMALL),
    "muesli": MuesliConfig(
        **SMALL,
        num_minibatches=2,
        model_size=4,
        num_bins=5,
        num_samples=2,
        model_unroll_length=2,
        max_value=2.0,
    ),
}


def agent_for(algorithm):
    return make_agent(core=CORE, algorithm=algorithm.split()[0], config=CONFIGS[algorithm])


def trained(algorithm, num_updates=20, on_host=False, ends_slowly=False, microbatch_size=None, **options):
    environment = ENVIRONMENT
    if on_host:
        each = NUM_ENVS // jax.process_count()
        environment = [as_dm_env(ENVIRONMENT, jax.process_index() * each + row) for row in range(each)]
    num_steps = num_updates * NUM_ENVS * SLOTS
    options["loggers"] = [SlowEnd()] if ends_slowly else []
    agent = dataclasses.replace(agent_for(algorithm), microbatch_size=microbatch_size)
    result = train(agent, environment, num_steps, progress=False, **options)
    return {"state": result.state, "metrics": result.metrics, "evaluations": result.evaluations}


class SlowEnd(Logger):
    """Takes longer to close than processes wait for each other when Python exits."""

    def start(self, num_updates):
        pass

    def write(self, table, rows):
        pass

    def close(self):
        time.sleep(HEARTBEAT_SECONDS + 3)


def loaded(directory):
    return load_policy(directory).params


def gradients(algorithm, devices):
    """Of the whole first trajectory, before the optimiser sees them."""
    agent = agent_for(algorithm).bind(EnvironmentSpec.from_environment(ENVIRONMENT))
    layout = make_layout(devices, NUM_ENVS, 1)
    run = CompiledLoop(agent, ENVIRONMENT, NUM_ENVS, np.asarray(0), layout)._run

    @jax.jit
    def gradients(run):
        trajectory, _ = act_on_shares(agent, ENVIRONMENT, layout, run)
        if algorithm == "muesli":
            sequences = agent._sequences(trajectory)
            carry = run.agent_state.carry
            parts = (agent.config, agent.network, carry.target_params, carry.error_moment)
            targets, _ = make_targets(*parts, sequences, jax.random.key(1))
            return jax.grad(agent._loss, has_aux=True)(run.agent_state.params, targets, sequences)[0]
        learned = agent._sequences(run.agent_state.params, trajectory) if algorithm == "ppo" else trajectory
        return jax.grad(agent._loss, has_aux=True)(run.agent_state.params, learned)[0]

    return layout.whole(jax.jit(lambda tree: layout.constrain(tree, WHOLE))(gradients(run)))


def main(spec):
    jax.config.update("jax_num_cpu_devices", spec["devices_each"])
    if spec["num_processes"] > 1:
        connect_processes(spec["coordinator"], spec["num_processes"], spec["index"], timeout=60)
    for name, options in spec["cases"].items():
        function = {"trained": trained, "gradients": gradients, "loaded": loaded}[options.pop("function")]
        try:
            leaves = jax.tree.leaves(function(**options))
        except ValueError as error:
            leaves = [str(error)]
        np.savez(f"{spec['folder']}/{name}-{spec['index']}.npz", *leaves)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
