"""Environments in JAX and on the host, adapters from and to dm_env, and environments by name."""

from s5rl.envs.base import JaxEnvironment as JaxEnvironment
from s5rl.envs.batched import BatchedEnvironment as BatchedEnvironment
from s5rl.envs.batched import DmEnvBatch as DmEnvBatch
from s5rl.envs.bsuite import make_bsuite as make_bsuite
from s5rl.envs.distracted_cue import DistractedCue as DistractedCue
from s5rl.envs.dm_control import DmControl as DmControl
from s5rl.envs.dm_control import make_dm_control as make_dm_control
from s5rl.envs.dm_env_adapter import as_dm_env as as_dm_env
from s5rl.envs.dm_env_adapter import from_dm_env as from_dm_env
from s5rl.envs.memory_chain import MemoryChain as MemoryChain
from s5rl.envs.mujoco_batch import ProjectedDmControlBatch as ProjectedDmControlBatch
from s5rl.envs.projected import HELD_OUT_TASKS as HELD_OUT_TASKS
from s5rl.envs.projected import TRAINING_TASKS as TRAINING_TASKS
from s5rl.envs.projected import ProjectedDmControl as ProjectedDmControl
from s5rl.envs.projected import ProjectedEnvironment as ProjectedEnvironment
from s5rl.envs.projected import ProjectionSettings as ProjectionSettings
from s5rl.envs.registry import environment_names as environment_names
from s5rl.envs.registry import make_environment as make_environment
from s5rl.envs.stream import Stream as Stream
from s5rl.envs.stream import advance_stream as advance_stream
from s5rl.envs.stream import restart_stream as restart_stream
from s5rl.envs.stream import start_stream as start_stream
