"""Tasks of dm_control in batches of MuJoCo, at many times the speed of dm_control."""

from s5rl.envs.mujoco_batch.environment import ProjectedDmControlBatch as ProjectedDmControlBatch
from s5rl.envs.mujoco_batch.formulas import BATCHED_TASKS as BATCHED_TASKS
