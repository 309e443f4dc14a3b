"""Training and evaluation: the only place where agents meet environments."""

from s5rl.training.metrics import Columns as Columns
from s5rl.training.evaluate import Evaluation as Evaluation
from s5rl.training.evaluate import evaluate as evaluate
from s5rl.training.rollout import Actors as Actors
from s5rl.training.rollout import rollout as rollout
from s5rl.training.rollout import start_actors as start_actors
from s5rl.training.train import TrainResult as TrainResult
from s5rl.training.train import train as train
