"""An agent of s5rl as Acme's learner: trajectories in, parameters for actors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.acme.agents.actor import POLICY
from s5rl.acme.agents.library import core, counting, loggers
from s5rl.agents import Agent, AgentState
from s5rl.key_data import keys_to_numbers, numbers_to_keys
from s5rl.training.host_steps import acting_params, learn, place_trajectory
from s5rl.training.keys import check_seed, run_keys
from s5rl.training.layout import WHOLE, make_layout
from s5rl.training.loop import NonFiniteError
from s5rl.training.metrics import MAY_BE_NAN
from s5rl.training.named_leaves import check_same_arrays
from s5rl.types import Params, Trajectory


class LearnerSnapshot(NamedTuple):
    """What a learner carries from update to update, in numpy."""

    agent_state: AgentState
    num_updates: np.ndarray
    """int32 []."""


@final
class AgentLearner(core.Learner):
    """Learns from one trajectory in each step.

    With the same seed, and the same trajectories, its parameters are those of `s5rl.train`.
    """

    def __init__(
        self,
        agent: Agent,
        trajectories: Iterator[Trajectory],
        seed: int = 0,
        *,
        counter: counting.Counter | None = None,
        logger: loggers.Logger | None = None,
    ) -> None:
        """Makes fresh parameters.

        Args:
          agent: bound to the environment.
          trajectories: [T, B] each; what waits in it should have a timeout.
          seed: of parameters and updates.
          counter: counts the updates as `steps`; None for one of its own.
          logger: told of the metrics of every update; None for Acme's default.

        Raises:
          UnboundAgentError: the agent is not bound.
          ValueError: the seed is out of its range.
        """
        check_seed(seed)
        keys = run_keys(seed)
        self._agent, self._trajectories, self._update_key = agent, trajectories, keys.updates
        self._counter = counter or counting.Counter()
        self._logger = logger or loggers.make_default_logger("learner")
        self._layout = make_layout(1, 1, 1)
        self._state = self._layout.place(agent.init(keys.init), WHOLE)
        self._num_updates = np.zeros((), np.int32)

    @property
    def agent_state(self) -> AgentState:
        """What was learned."""
        return self._state

    @property
    def num_updates(self) -> int:
        """The number of updates done."""
        return int(self._num_updates)

    def step(self) -> None:
        """Learns from the next trajectory.

        Raises:
          NonFiniteError: the loss or another metric is not finite; nothing is learned.
          RuntimeError: there is no further trajectory.
        """
        trajectory = next(self._trajectories, None)
        if trajectory is None:
            raise RuntimeError(f"trajectories ended after {self._num_updates} updates.")
        key = jax.random.fold_in(self._update_key, self._num_updates)
        trajectory = place_trajectory(self._layout, trajectory)
        state, device_metrics = learn(self._agent, self._layout, self._state, trajectory, key)
        metrics = jax.device_get(device_metrics)
        for name, value in metrics.items():
            if not np.isfinite(value) and name not in MAY_BE_NAN:
                raise NonFiniteError(f"{name} is {value} in update {self._num_updates + 1}.")
        self._state = state
        self._num_updates = np.asarray(self._num_updates + 1, np.int32)
        self._logger.write({**metrics, **self._counter.increment(steps=1)})

    def get_variables(self, names: Sequence[str]) -> list[Params]:
        """Returns the parameters that act, in numpy, for each name.

        Args:
          names: `POLICY` is the only one.

        Raises:
          ValueError: there is no such name.
        """
        if any(name != POLICY for name in names):
            raise ValueError(f"names must all be {POLICY!r}, got {list(names)}.")
        return [jax.device_get(acting_params(self._agent, self._state)) for _ in names]

    def save(self) -> LearnerSnapshot:
        """Returns all that decides what follows, but for the trajectories."""
        return LearnerSnapshot(jax.device_get(keys_to_numbers(self._state)), self._num_updates)

    def restore(self, state: LearnerSnapshot) -> None:
        """Goes on from where `save` was called.

        Args:
          state: from a learner of an equal agent.

        Raises:
          ValueError: it is that of another agent.
        """
        agent_state, num_updates = state
        check_same_arrays("state.agent_state", keys_to_numbers(self._state), agent_state)
        arrays = jax.tree.map(jnp.asarray, agent_state)
        self._state = self._layout.place(numbers_to_keys(arrays, self._state), WHOLE)
        self._num_updates = np.asarray(num_updates, np.int32)
