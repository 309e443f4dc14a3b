"""A little agent of its own that keeps all laws, and planted faults, each a small change to it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import dm_env
import jax
import jax.numpy as jnp

from s5rl.agents import Agent, AgentState
from s5rl.types import ActorState, ActOutput, EnvironmentSpec

SIZE = 4
LAST = int(dm_env.StepType.LAST)


@dataclasses.dataclass(frozen=True)
class Config:
    num_envs: int = 4
    unroll_length: int = 8


@dataclasses.dataclass(frozen=True)
class Little(Agent):
    """h = tanh(x W + 0.5 reset(h)), policy softmax(h P), x the observation and the previous action.

    It learns by REINFORCE. Time steps are [B, ...] only, actions 0 or 1.
    """

    environment_spec: EnvironmentSpec | None = None
    config: ClassVar = Config()

    def _with_spec(self, environment_spec):
        return dataclasses.replace(self, environment_spec=environment_spec)

    def init(self, key):
        keys = jax.random.split(key)
        input_size = self.environment_spec.observation.shape[-1] + 1
        params = {
            "w": jax.random.normal(keys[0], (input_size, SIZE)),
            "p": jax.random.normal(keys[1], (SIZE, 2)),
        }
        return AgentState(params, ())

    def acting_params(self, state):
        return state.params

    def initial_actor_state(self, batch_size=None):
        return ActorState((jnp.zeros((batch_size, SIZE)),), jnp.zeros(batch_size, jnp.int32))

    def previous(self, timestep, previous_action):
        return jnp.where(timestep.first(), 0, previous_action)

    def advance(self, params, timestep, h, previous_action):
        """Returns logits [B, 2] and the memory behind the time step."""
        observation = timestep.observation.reshape(*timestep.step_type.shape, -1)
        previous_action = self.previous(timestep, previous_action)[..., None].astype(float)
        h = jnp.where(timestep.first()[:, None], 0.0, h)
        h = jnp.tanh(jnp.concatenate([observation, previous_action], axis=-1) @ params["w"] + 0.5 * h)
        return h @ params["p"], h

    def act(self, acting_params, timestep, actor_state, key, evaluation=False):
        (h,), previous_action = actor_state
        logits, h = self.advance(acting_params, timestep, h, previous_action)
        action = jax.vmap(jax.random.categorical)(key, logits).astype(jnp.int32)
        extras = {"log_prob": log_prob(logits, action)}
        return ActOutput(action, extras), ActorState((h,), action)

    def learned(self, trajectory):
        """Returns what learning unrolls over: time steps and previous actions [T, B], and a memory."""
        timesteps = jax.tree.map(lambda leaf: leaf[:-1], trajectory.timesteps)
        (h,), before = trajectory.initial_state
        return timesteps, jnp.concatenate([before[None], trajectory.actions[:-1]]), h

    def logits(self, params, trajectory):
        """Returns logits [T, B, 2] by unrolling."""
        timesteps, previous_actions, h = self.learned(trajectory)

        def body(h, slot):
            logits, h = self.advance(params, slot[0], h, slot[1])
            return h, logits

        return jax.lax.scan(body, h, (timesteps, previous_actions))[1]

    def log_probs(self, params, trajectory):
        return log_prob(self.logits(params, trajectory), trajectory.actions)

    def objective(self, trajectory, log_probs, entropies):
        """Returns what learning maximises."""
        live = trajectory.timesteps.step_type[:-1] != LAST
        terms = log_probs * trajectory.timesteps.reward[1:] + 0.1 * entropies
        return jnp.sum(jnp.where(live, terms, 0.0))

    def update(self, state, trajectory, key):
        def loss(params):
            logits = self.logits(params, trajectory)
            entropies = -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=-1)
            return -self.objective(trajectory, log_prob(logits, trajectory.actions), entropies)

        value, gradients = jax.value_and_grad(loss)(state.params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradients)
        return AgentState(params, ()), {"loss": value}


def log_prob(logits, actions):
    return jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(actions, 2), axis=-1)


@final
@dataclasses.dataclass(frozen=True)
class Right(Little):
    """No fault."""


@final
@dataclasses.dataclass(frozen=True)
class ZeroedMemory(Little):
    """Learning starts every trajectory with an empty memory."""

    def learned(self, trajectory):
        timesteps, previous_actions, h = super().learned(trajectory)
        return timesteps, previous_actions, jnp.zeros_like(h)


@final
@dataclasses.dataclass(frozen=True)
class IgnoredResets(Little):
    """Learning never resets."""

    def learned(self, trajectory):
        timesteps, previous_actions, h = super().learned(trajectory)
        mid = jnp.full_like(timesteps.step_type, int(dm_env.StepType.MID))
        return timesteps._replace(step_type=mid), previous_actions, h


@final
@dataclasses.dataclass(frozen=True)
class LateResets(Little):
    """Learning resets one step behind FIRST."""

    def learned(self, trajectory):
        timesteps, previous_actions, h = super().learned(trajectory)
        late = jnp.concatenate([jnp.full_like(timesteps.step_type[:1], LAST), timesteps.step_type[:-1]])
        return timesteps._replace(step_type=late), previous_actions, h


@final
@dataclasses.dataclass(frozen=True)
class ShiftedActions(Little):
    """Learning sees the action of a step where acting saw the one before."""

    def learned(self, trajectory):
        timesteps, _, h = super().learned(trajectory)
        return timesteps, trajectory.actions, h


@final
@dataclasses.dataclass(frozen=True)
class NoLogProb(Little):
    """Acting does not say with which probability it acted."""

    def act(self, acting_params, timestep, actor_state, key, evaluation=False):
        output, actor_state = super().act(acting_params, timestep, actor_state, key)
        return output._replace(extras={}), actor_state


@final
@dataclasses.dataclass(frozen=True)
class ConstantPolicy(Little):
    """The policy starts at zero: whatever is wrong before it does not show."""

    def init(self, key):
        state = super().init(key)
        return state._replace(params={**state.params, "p": jnp.zeros((SIZE, 2))})


@final
@dataclasses.dataclass(frozen=True)
class WeighedDeadSlots(Little):
    """The loss is over all slots."""

    def objective(self, trajectory, log_probs, entropies):
        return jnp.sum(log_probs * trajectory.timesteps.reward[1:] + log_probs)


@final
@dataclasses.dataclass(frozen=True)
class EntropyOfDeadSlots(Little):
    """The entropy is over all slots, though the policy loss is not."""

    def objective(self, trajectory, log_probs, entropies):
        return super().objective(trajectory, log_probs, jnp.zeros_like(entropies)) + 0.1 * jnp.sum(entropies)


@final
@dataclasses.dataclass(frozen=True)
class MultipliedWeights(Little):
    """A ratio is multiplied by the weight 0 of its slot: NaN and inf survive that."""

    def objective(self, trajectory, log_probs, entropies):
        live = (trajectory.timesteps.step_type[:-1] != LAST).astype(float)
        ratios = jnp.exp(log_probs - trajectory.extras["log_prob"])
        return jnp.sum(live * ratios * trajectory.timesteps.reward[1:])


@final
@dataclasses.dataclass(frozen=True)
class CarriedKey(Little):
    """The actor carries a key and splits it in every slot, the dead ones included."""

    def initial_actor_state(self, batch_size=None):
        memory = super().initial_actor_state(batch_size)
        return memory._replace(
            core_state=(*memory.core_state, jax.random.split(jax.random.key(0), batch_size))
        )

    def act(self, acting_params, timestep, actor_state, key, evaluation=False):
        h, carried = actor_state.core_state
        drawn, carried = jax.vmap(jax.random.split, out_axes=1)(carried)
        output, after = super().act(acting_params, timestep, actor_state._replace(core_state=(h,)), drawn)
        return output, after._replace(core_state=(*after.core_state, carried))

    def learned(self, trajectory):
        before = trajectory.initial_state
        before = before._replace(core_state=before.core_state[:1])
        return super().learned(trajectory._replace(initial_state=before))


@final
@dataclasses.dataclass(frozen=True)
class LeakedAction(Little):
    """The action of the dead slot is seen at FIRST, in acting and learning alike."""

    def previous(self, timestep, previous_action):
        return previous_action


@final
@dataclasses.dataclass(frozen=True)
class ResetBehindInput(Little):
    """The memory is reset after the FIRST step was consumed, in acting and learning alike."""

    def advance(self, params, timestep, h, previous_action):
        mid = jnp.full_like(timestep.step_type, int(dm_env.StepType.MID))
        previous_action = self.previous(timestep, previous_action)
        logits, h = super().advance(params, timestep._replace(step_type=mid), h, previous_action)
        return logits, jnp.where(timestep.first()[:, None], 0.0, h)
