"""Agents: pure functions around any core."""

from s5rl.agents.a2c import A2CAgent as A2CAgent
from s5rl.agents.a2c import A2CConfig as A2CConfig
from s5rl.agents.actor_critic_agent import ActorCriticAgent as ActorCriticAgent
from s5rl.agents.actor_critic_agent import ActorCriticConfig as ActorCriticConfig
from s5rl.agents.base import Agent as Agent
from s5rl.agents.base import AgentConfig as AgentConfig
from s5rl.agents.base import AgentState as AgentState
from s5rl.agents.base import UnboundAgentError as UnboundAgentError
from s5rl.agents.make_agent import make_agent as make_agent
from s5rl.agents.memory_agent import MemoryAgent as MemoryAgent
from s5rl.agents.memory_agent import MemoryAgentConfig as MemoryAgentConfig
from s5rl.agents.muesli import MuesliAgent as MuesliAgent
from s5rl.agents.muesli_config import MuesliConfig as MuesliConfig
from s5rl.agents.ppo import PPOAgent as PPOAgent
from s5rl.agents.ppo import PPOConfig as PPOConfig
