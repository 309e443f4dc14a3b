"""Losses and returns over trajectories: arrays in, arrays out."""

from s5rl.losses.returns import live_slots as live_slots
from s5rl.losses.returns import td_lambda_errors as td_lambda_errors
from s5rl.losses.returns import weighted_mean as weighted_mean
