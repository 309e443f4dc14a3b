"""The settings of Muesli."""

from __future__ import annotations

import dataclasses
from typing import final

from s5rl.agents.memory_agent import MemoryAgentConfig
from s5rl.validation import check_choice, check_number, check_positive

BOOTSTRAPS = ("action_values", "value")


@final
@dataclasses.dataclass(frozen=True)
class MuesliConfig(MemoryAgentConfig):
    """Settings of Muesli, beside those of every algorithm.

    The defaults are those of Hessel et al. 2021 but for replay, which is off, the bins, which are MuZero's,
    and the sizes. Where that paper says nothing, the field says so.

    Attributes:
      num_epochs: how often an update goes over its trajectory; 1 in the paper.
      num_minibatches: gradient steps of an epoch, each on as many whole rows of the trajectory.
      target_update_rate: alpha, how far the target network moves towards the parameters in a gradient step.
      cmpo_cost: lambda, weight of the distance from pi_CMPO.
      cmpo_clip: c, of the normalised advantages in pi_CMPO.
      num_samples: N, number of actions drawn for pi_CMPO where there are too many for all to be tried.
      model_unroll_length: K, number of actions that the model follows.
      model_size: size of the model's LSTM. Not in the paper.
      model_cost: weight of the model's policies: the auxiliary loss.
      reward_cost: weight of the model's rewards.
      retrace_lambda: decay of the trace of the returns.
      bootstrap: what stands for the value of a state in the returns: the mean of the model's "action_values"
        under the prior, or the prior's "value". The paper does not say which. With "value", whatever the two
        differ by adds up over the trace, which has kept small rewards from being learned.
      moment_decay: beta, of the running mean of squared errors that scales the advantages.
      moment_epsilon: what is added to that mean.
      num_bins: number of bins of values and rewards.
      max_value: h-value of the last bin: MuZero's 300 stands for 58706. Where returns are known to be small,
        fewer bins over a smaller range are as exact and cheaper.
      max_update: each element of an update is clipped to it, before the learning rate.
      annealing_updates: the learning rate falls linearly to 0 over the gradient steps of so many updates;
        None keeps it.
      replay_fraction: share of replayed sequences in a minibatch; above 0 it needs the extra `s5rl[replay]`.
      replay_capacity: number of rows that the replay holds.

    Raises:
      ValueError: a value is out of its range, num_minibatches does not divide num_envs, or replay_fraction is
        too small for one replayed sequence in a minibatch, or the replay cannot hold what is put in or drawn.
    """

    discount: float = 0.995
    value_cost: float = 0.25
    num_envs: int = 16
    num_epochs: int = 1
    num_minibatches: int = 1
    target_update_rate: float = 0.1
    cmpo_cost: float = 1.0
    cmpo_clip: float = 1.0
    num_samples: int = 16
    model_unroll_length: int = 5
    model_size: int = 256
    model_cost: float = 1.0
    reward_cost: float = 1.0
    retrace_lambda: float = 0.95
    bootstrap: str = "action_values"
    moment_decay: float = 0.99
    moment_epsilon: float = 1e-12
    num_bins: int = 601
    max_value: float = 300.0
    max_update: float = 1.0
    annealing_updates: int | None = None
    replay_fraction: float = 0.0
    replay_capacity: int = 1024

    def _check_algorithm(self) -> None:
        check_positive(
            num_epochs=self.num_epochs,
            num_minibatches=self.num_minibatches,
            num_samples=self.num_samples,
            model_unroll_length=self.model_unroll_length,
            model_size=self.model_size,
            num_bins=self.num_bins,
            replay_capacity=self.replay_capacity,
        )
        for name in ("target_update_rate", "moment_decay", "retrace_lambda"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("cmpo_clip", "max_value", "max_update", "moment_epsilon"):
            check_number(name, getattr(self, name), 0, above=True)
        for name in ("cmpo_cost", "model_cost", "reward_cost"):
            check_number(name, getattr(self, name), 0)
        if self.annealing_updates is not None:
            check_positive(annealing_updates=self.annealing_updates)
        check_choice("bootstrap", self.bootstrap, BOOTSTRAPS)
        check_number("replay_fraction", self.replay_fraction, 0, 0.99)
        if self.moment_decay == 1:
            raise ValueError("moment_decay must be below 1, got 1: nothing would enter the mean.")
        if self.num_envs % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_envs, got num_minibatches={self.num_minibatches} and "
                f"num_envs={self.num_envs}."
            )
        num_new = self.num_envs // self.num_minibatches
        num_replayed = self.num_replayed(num_new)
        if self.replay_fraction and not num_replayed:
            raise ValueError(
                f"replay_fraction={self.replay_fraction} is too small for one replayed sequence in a "
                f"minibatch of {num_new} new ones."
            )
        if self.replay_fraction and self.replay_capacity < max(self.num_envs, num_replayed):
            raise ValueError(
                f"replay_capacity must hold the {self.num_envs} rows of an update and {num_replayed} "
                f"of a minibatch, got {self.replay_capacity}."
            )

    def minibatch_size(self, num_envs: int) -> int:
        """Returns the number of rows of a gradient step, new and replayed ones."""
        num_new = num_envs // self.num_minibatches
        return num_new + self.num_replayed(num_new)

    def num_replayed(self, num_new: int) -> int:
        """Returns the number of replayed sequences in a minibatch, beside so many new ones."""
        return round(num_new * self.replay_fraction / (1 - self.replay_fraction))

    @classmethod
    def projected_dm_control(cls) -> MuesliConfig:
        """Returns the settings of the paper's meta-RL experiment: Table 5.

        A trajectory is a whole episode of 1000 steps and the dead slot behind it. The table does not give the
        size of minibatches: here they hold 64 episodes.
        """
        return cls(
            learning_rate=3e-4,
            discount=0.995,
            value_cost=1.0,
            num_envs=1024,
            unroll_length=1001,
            torso_sizes=(512, 512),
            num_minibatches=16,
            model_unroll_length=1,
            model_cost=3.0,
            replay_fraction=0.0,
        )
