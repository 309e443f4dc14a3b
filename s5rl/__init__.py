"""Memory for reinforcement learning in JAX: swap an agent's memory in one line.

Cores are in `s5rl.cores`, their laws in `s5rl.conformance`, agents in `s5rl.agents`, environments in
`s5rl.envs`, training in `s5rl.training`.
"""

from importlib.metadata import version

from s5rl.agents import A2CConfig as A2CConfig
from s5rl.agents import MuesliConfig as MuesliConfig
from s5rl.agents import PPOConfig as PPOConfig
from s5rl.agents import make_agent as make_agent
from s5rl.compilation_cache import enable_compilation_cache as enable_compilation_cache
from s5rl.cores import AttentionCore as AttentionCore
from s5rl.cores import FeedForwardCore as FeedForwardCore
from s5rl.cores import GRUCore as GRUCore
from s5rl.cores import HaikuCore as HaikuCore
from s5rl.cores import LRUCore as LRUCore
from s5rl.cores import LSTMCore as LSTMCore
from s5rl.cores import RecurrentCore as RecurrentCore
from s5rl.cores import ResettableS5Core as ResettableS5Core
from s5rl.envs import as_dm_env as as_dm_env
from s5rl.envs import make_environment as make_environment
from s5rl.training import evaluate as evaluate
from s5rl.training import load_policy as load_policy
from s5rl.training import train as train
from s5rl.types import EnvironmentSpec as EnvironmentSpec

__version__ = version("s5rl")
