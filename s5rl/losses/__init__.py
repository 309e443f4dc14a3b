"""Losses and returns over trajectories: arrays in, arrays out."""

from s5rl.losses.clipping import approximate_kl as approximate_kl
from s5rl.losses.clipping import clipped_square_errors as clipped_square_errors
from s5rl.losses.clipping import clipped_surrogate as clipped_surrogate
from s5rl.losses.cmpo import exact_cmpo_weights as exact_cmpo_weights
from s5rl.losses.cmpo import policy_distance as policy_distance
from s5rl.losses.cmpo import sampled_cmpo_weights as sampled_cmpo_weights
from s5rl.losses.returns import explained_variance as explained_variance
from s5rl.losses.returns import live_slots as live_slots
from s5rl.losses.returns import retrace_returns as retrace_returns
from s5rl.losses.returns import standardize as standardize
from s5rl.losses.returns import td_lambda_errors as td_lambda_errors
from s5rl.losses.returns import weighted_mean as weighted_mean
from s5rl.losses.returns import weighted_variance as weighted_variance
from s5rl.losses.second_moment import SecondMoment as SecondMoment
