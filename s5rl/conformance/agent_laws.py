"""The laws of an agent: 1 acting and learning agree, 2 and 3 dead slots, 4 episodes are separate."""

from __future__ import annotations

import dm_env
import jax
import numpy as np

from s5rl.conformance import measure
from s5rl.conformance.agent_subject import WINDOWS, AgentSubject, Window, pick
from s5rl.conformance.fills import Fill, fill_all, fills
from s5rl.conformance.law import Law
from s5rl.conformance.measure import Deviation, compare, demand
from s5rl.key_data import keys_to_numbers
from s5rl.types import PyTree, Trajectory

SEED = 0
"""Of what stands in the place of numbers that must have no effect."""


def acting_and_learning_agree(subject: AgentSubject, window: Window) -> list[Deviation]:
    """Law 1: learning gives each action the probability that acting gave it: their ratio is 1."""
    acted = subject.acted(window)
    if "log_prob" not in acted.trajectory.extras:
        return [demand("log_prob in the extras of act", False)]
    stored = acted.trajectory.extras["log_prob"]
    ratios = np.exp(_log_probs(subject, acted.trajectory) - stored)
    deviations = np.where(acted.dead, 0.0, np.nan_to_num(np.abs(ratios - 1.0), nan=np.inf))
    t, row = np.unravel_index(np.argmax(deviations), deviations.shape)
    what = f"probability of the action at t={t} of row {row}, learning over acting, against 1"
    return [
        Deviation(what, float(deviations[t, row]), measure.VALUES),
        demand(
            "probabilities that differ from slot to slot; a policy that starts out constant hides all faults",
            np.ptp(stored[~acted.dead]) > 0,
        ),
    ]


def dead_slots_carry_no_gradient(subject: AgentSubject, window: Window) -> list[Deviation]:
    """Law 2: whatever stands in dead slots, `update` gives bit for bit the same state and metrics.

    There stand actions, extras and the final observation. That one counts where an episode was truncated,
    whose return is bootstrapped from its value; where an episode terminated, the discount is 0.
    """
    acted = subject.acted(window)
    trajectory, key = acted.trajectory, jax.random.key(1)
    want = subject.update(subject.state, trajectory, key)
    found = [demand("finite parameters after an update", measure.is_finite(want[0].params))]
    terminated = acted.dead & (trajectory.timesteps.discount[:-1] == 0)
    (_, other_numbers), *_ = fills(SEED)  # no NaN in the observation, which may be multiplied by 0
    timesteps = _changed(trajectory.timesteps, ("observation",), terminated, other_numbers)
    for name, fill in fills(SEED):
        spoilt = trajectory._replace(
            timesteps=timesteps,
            actions=fill_all(trajectory.actions, acted.dead, fill),
            extras=fill_all(trajectory.extras, acted.dead, fill),
        )
        got = subject.update(subject.state, spoilt, key)
        found.append(
            compare(f"update with {name} in dead slots", keys_to_numbers(got), keys_to_numbers(want), 0.0)
        )
    return found


def no_key_is_spent_on_dead_slots(subject: AgentSubject, window: Window) -> list[Deviation]:
    """Law 3: without the dead slots, and the keys that they were given, the live ones are the same."""
    acted = subject.acted(window)
    trajectory = acted.trajectory
    order = np.argsort(acted.dead, axis=0, kind="stable")  # the live slots of each row, then the dead ones
    slots = _starts(trajectory), acted.keys, (trajectory.actions, trajectory.extras), ~acted.dead
    timesteps, keys, want, live = pick(slots, order)
    got = subject.act(timesteps, trajectory.initial_state, keys)
    return [_compare_slots("acting without dead slots", got, want, live)]


def episodes_are_separate(subject: AgentSubject, window: Window) -> list[Deviation]:
    """Law 4: nothing before a row's last FIRST step reaches an action or a log-probability from it on."""
    acted = subject.acted(window)
    trajectory = acted.trajectory
    times = np.arange(len(acted.first))[:, None]
    last = np.where(acted.first, times, -1).max(axis=0)
    before, behind = times < last, (times >= last) & (last >= 0) & ~acted.dead
    want = (trajectory.actions, trajectory.extras), _log_probs(subject, trajectory)
    found = []
    for name, fill in fills(SEED):
        changed = Trajectory(
            _changed(trajectory.timesteps, ("observation", "reward", "discount"), before, fill),
            actions=fill_all(trajectory.actions, before, fill),
            extras=fill_all(trajectory.extras, before, fill),
            initial_state=fill_all(trajectory.initial_state, np.ones_like(last, bool), fill),
        )
        keys = fill_all(acted.keys, before, fill)
        got = subject.act(_starts(changed), changed.initial_state, keys), _log_probs(subject, changed)
        for who, one, other in zip(("acting", "learning"), got, want, strict=True):
            found.append(_compare_slots(f"{who} behind FIRST with {name} before it", one, other, behind))
    return found


AGENT_LAWS = (
    Law(1, "acting and learning agree: every ratio is 1", acting_and_learning_agree, WINDOWS),
    Law(2, "dead slots carry no gradient", dead_slots_carry_no_gradient, WINDOWS),
    Law(3, "no random key is spent on dead slots", no_key_is_spent_on_dead_slots, WINDOWS),
    Law(4, "nothing passes from episode to episode", episodes_are_separate, WINDOWS),
)
"""The laws of an agent, in order."""


def _log_probs(subject: AgentSubject, trajectory: Trajectory) -> np.ndarray:
    """Returns what learning computes [T, B]."""
    return np.asarray(subject.log_probs(subject.state.params, trajectory))


def _starts(trajectory: Trajectory) -> dm_env.TimeStep:
    """Returns the time steps [T, B, ...] at the start of each slot."""
    return jax.tree.map(lambda leaf: leaf[:-1], trajectory.timesteps)


def _changed(
    timesteps: dm_env.TimeStep, fields: tuple[str, ...], where: np.ndarray, fill: Fill
) -> dm_env.TimeStep:
    """Returns time steps [T + 1, B] with some of their fields replaced at the start of some slots [T, B]."""
    where = np.concatenate([where, np.zeros_like(where[:1])])
    return timesteps._replace(**{field: fill_all(getattr(timesteps, field), where, fill) for field in fields})


def _compare_slots(what: str, got: PyTree, want: PyTree, where: np.ndarray) -> Deviation:
    """Compares two nests [T, B, ...] in some slots."""
    got, want = (jax.tree.map(lambda leaf: leaf[where], tree) for tree in (got, want))
    return compare(what, keys_to_numbers(got), keys_to_numbers(want), measure.VALUES)
