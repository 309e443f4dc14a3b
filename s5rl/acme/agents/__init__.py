"""s5rl's agents as citizens of dm-acme, run by `acme.EnvironmentLoop`; needs no Reverb."""

from s5rl.acme.agents.actor import POLICY as POLICY
from s5rl.acme.agents.actor import AgentActor as AgentActor
from s5rl.acme.agents.binding import bind as bind
from s5rl.acme.agents.learner import AgentLearner as AgentLearner
from s5rl.acme.agents.local_agent import LocalAgent as LocalAgent
