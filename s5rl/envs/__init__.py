"""Environments in JAX, adapters from and to dm_env, and environments by name."""

from __future__ import annotations

from s5rl.envs.base import JaxEnvironment
from s5rl.envs.batched import (
    BatchedEnvironment,
    DmEnvBatch,
)
from s5rl.envs.bsuite import make_bsuite
from s5rl.envs.dm_env_adapter import (
    as_dm_env,
    from_dm_env,
)
from s5rl.envs.memory_chain import MemoryChain
from s5rl.envs.registry import make_environment
from s5rl.envs.stream import (
    Stream,
    advance_stream,
    restart_stream,
    start_stream,
)
