"""Networks around a core: torso, action heads, actor and critic."""

from s5rl.networks.actor_critic import ActorCritic as ActorCritic
from s5rl.networks.encoder import flatten_observation as flatten_observation
from s5rl.networks.heads import ActionHead as ActionHead
from s5rl.networks.heads import ActionSample as ActionSample
from s5rl.networks.heads import DiscreteHead as DiscreteHead
from s5rl.networks.heads import SquashedGaussianHead as SquashedGaussianHead
from s5rl.networks.heads import make_head as make_head
from s5rl.networks.inputs import NetworkInputs as NetworkInputs
from s5rl.networks.memory_network import MemoryNetwork as MemoryNetwork
from s5rl.networks.memory_network import zero_observation as zero_observation
from s5rl.networks.muesli_network import ModelOutput as ModelOutput
from s5rl.networks.muesli_network import ModelState as ModelState
from s5rl.networks.muesli_network import MuesliNetwork as MuesliNetwork
from s5rl.networks.muesli_network import MuesliOutput as MuesliOutput
from s5rl.networks.torso import MLPTorso as MLPTorso
from s5rl.networks.torso import Torso as Torso
from s5rl.networks.value_distribution import TwoHotDistribution as TwoHotDistribution
