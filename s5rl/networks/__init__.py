"""Networks around a core: torso, action heads, actor and critic."""

from s5rl.networks.actor_critic import ActorCritic as ActorCritic
from s5rl.networks.encoder import flatten_observation as flatten_observation
from s5rl.networks.heads import ActionHead as ActionHead
from s5rl.networks.heads import ActionSample as ActionSample
from s5rl.networks.heads import DiscreteHead as DiscreteHead
from s5rl.networks.heads import SquashedGaussianHead as SquashedGaussianHead
from s5rl.networks.heads import make_head as make_head
from s5rl.networks.inputs import NetworkInputs as NetworkInputs
from s5rl.networks.torso import MLPTorso as MLPTorso
from s5rl.networks.torso import Torso as Torso
