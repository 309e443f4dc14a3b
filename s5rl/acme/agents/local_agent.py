"""An agent that acts and learns in one process, for `acme.EnvironmentLoop`."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import dm_env
import jax
import numpy as np

from s5rl.acme.agents.actor import POLICY, ActorSnapshot, AgentActor
from s5rl.acme.agents.binding import bind
from s5rl.acme.agents.learner import AgentLearner, LearnerSnapshot
from s5rl.acme.agents.library import VariableClient, core, counting, loggers, specs
from s5rl.agents import Agent, AgentState
from s5rl.types import Params, Trajectory


class LocalAgentSnapshot(NamedTuple):
    """What a local agent carries, in numpy."""

    learner: LearnerSnapshot
    actor: ActorSnapshot
    complete: tuple[Trajectory, ...]
    """The unroll that has not been learned from yet, if there is one."""
    may_learn: np.ndarray
    """bool []: whether `update` was called since the latest time step but one."""


@final
class LocalAgent(core.Actor, core.VariableSource, core.Saveable):
    """An actor and its learner.

    Update schedule: one update after each `config.unroll_length` slots, before the next action; the slot
    behind a LAST step counts. That is the schedule of `s5rl.train` with one environment on the host, and with
    the same seed the actions, the returns and the parameters are the same.

    Attributes:
      agent: bound to the environment.
    """

    def __init__(
        self,
        agent: Agent,
        environment_spec: specs.EnvironmentSpec,
        seed: int = 0,
        *,
        counter: counting.Counter | None = None,
        logger: loggers.Logger | None = None,
    ) -> None:
        """Makes fresh parameters.

        Args:
          agent: bound to the environment, or not bound yet.
          environment_spec: from `acme.make_environment_spec(environment)`.
          seed: of parameters, actions and updates.
          counter: counts the updates as `steps`; None for one of its own.
          logger: told of the metrics of every update; None for Acme's default.

        Raises:
          ValueError: the agent does not fit the environment, or the seed is out of its range.
        """
        self.agent = bind(agent, environment_spec)
        self._complete: collections.deque[Trajectory] = collections.deque()
        trajectories = iter(self._complete.popleft, None)
        self._learner = AgentLearner(self.agent, trajectories, seed, counter=counter, logger=logger)
        client = VariableClient(self._learner, POLICY, device=jax.devices()[0])
        self._actor = AgentActor(self.agent, client, seed, add=self._complete.append)
        self._may_learn = False

    @property
    def agent_state(self) -> AgentState:
        """What was learned."""
        return self._learner.agent_state

    @property
    def num_updates(self) -> int:
        """The number of updates done."""
        return self._learner.num_updates

    def observe_first(self, timestep: dm_env.TimeStep) -> None:
        """Begins an episode; see `AgentActor.observe_first`."""
        self._actor.observe_first(timestep)
        may_learn, self._may_learn = self._may_learn, False
        # The slot behind the episode before, in which Acme's loop asks for no update, may have been the last
        # one of an unroll.
        if may_learn:
            self._learn()

    def select_action(self, observation: Any) -> Any:
        """Returns an action; see `AgentActor.select_action`.

        Raises:
          RuntimeError: an unroll is complete, and `update` was not called.
        """
        if self._complete:
            raise RuntimeError(
                f"an unroll of {self.agent.config.unroll_length} slots is complete, but update() was not "
                "called, as with EnvironmentLoop(should_update=False): to act only, use an AgentActor."
            )
        return self._actor.select_action(observation)

    def observe(self, action: Any, next_timestep: dm_env.TimeStep) -> None:
        """Takes in what an action led to; see `AgentActor.observe`."""
        self._may_learn = False
        self._actor.observe(action, next_timestep)

    def update(self, wait: bool = False) -> None:
        """Learns, if an unroll is complete; if it lacks the slot behind an episode, when the next one begins.

        Args:
          wait: of no meaning: the update is always done when this returns.
        """
        del wait
        self._may_learn = True
        self._learn()

    def get_variables(self, names: Sequence[str]) -> list[Params]:
        """Returns the parameters that act; see `AgentLearner.get_variables`."""
        return self._learner.get_variables(names)

    def save(self) -> LocalAgentSnapshot:
        """Returns all that decides what follows, but for the environment."""
        complete = jax.device_get(tuple(self._complete))
        may_learn = np.asarray(self._may_learn)
        return LocalAgentSnapshot(self._learner.save(), self._actor.save(), complete, may_learn)

    def restore(self, state: LocalAgentSnapshot) -> None:
        """Goes on from where `save` was called.

        Args:
          state: from an equal agent.

        Raises:
          ValueError: it is that of another agent.
        """
        learner, actor, complete, may_learn = state
        self._learner.restore(learner)
        self._actor.restore(actor)
        self._actor.update(wait=True)
        self._complete.clear()
        self._complete.extend(Trajectory(*trajectory) for trajectory in complete)
        self._may_learn = bool(may_learn)

    def _learn(self) -> None:
        if self._complete:
            self._learner.step()
            self._actor.update(wait=True)
