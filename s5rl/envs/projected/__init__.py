"""Meta-learning on randomly projected tasks: every episode another task behind other projections."""

from s5rl.envs.projected.dm_control import ProjectedDmControl as ProjectedDmControl
from s5rl.envs.projected.environment import ProjectedEnvironment as ProjectedEnvironment
from s5rl.envs.projected.environment import ProjectedState as ProjectedState
from s5rl.envs.projected.episodes import HELD_OUT_TASKS as HELD_OUT_TASKS
from s5rl.envs.projected.episodes import TRAINING_TASKS as TRAINING_TASKS
from s5rl.envs.projected.projections import ProjectionSettings as ProjectionSettings
