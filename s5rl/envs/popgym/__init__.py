"""POPGym in JAX: 48 environments that ask for memory, step for step those of popgym 1.0.7."""

from s5rl.envs.popgym.autoencode import Autoencode as Autoencode
from s5rl.envs.popgym.base import PopgymEnvironment as PopgymEnvironment
from s5rl.envs.popgym.battleship import Battleship as Battleship
from s5rl.envs.popgym.cart_pole import CartPole as CartPole
from s5rl.envs.popgym.concentration import Concentration as Concentration
from s5rl.envs.popgym.count_recall import CountRecall as CountRecall
from s5rl.envs.popgym.draws import Draw as Draw
from s5rl.envs.popgym.higher_lower import HigherLower as HigherLower
from s5rl.envs.popgym.labyrinth import LabyrinthEscape as LabyrinthEscape
from s5rl.envs.popgym.labyrinth import LabyrinthExplore as LabyrinthExplore
from s5rl.envs.popgym.mine_sweeper import MineSweeper as MineSweeper
from s5rl.envs.popgym.multiarmed_bandit import MultiarmedBandit as MultiarmedBandit
from s5rl.envs.popgym.names import ENVIRONMENTS as ENVIRONMENTS
from s5rl.envs.popgym.names import make_popgym as make_popgym
from s5rl.envs.popgym.noise import Noisy as Noisy
from s5rl.envs.popgym.pendulum import Pendulum as Pendulum
from s5rl.envs.popgym.repeat_first import RepeatFirst as RepeatFirst
from s5rl.envs.popgym.repeat_previous import RepeatPrevious as RepeatPrevious
