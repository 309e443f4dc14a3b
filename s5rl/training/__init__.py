"""Training and evaluation: the only place where agents meet environments."""

from s5rl.training.metrics import Columns as Columns
from s5rl.training.metrics import max_mean_episodic_return as max_mean_episodic_return
from s5rl.training.metrics import mean_episode_return as mean_episode_return
from s5rl.training.evaluate import Evaluation as Evaluation
from s5rl.training.evaluate import evaluate as evaluate
from s5rl.training.rollout import Actors as Actors
from s5rl.training.rollout import rollout as rollout
from s5rl.training.rollout import start_actors as start_actors
from s5rl.training.train import TrainResult as TrainResult
from s5rl.training.train import train as train
from s5rl.training.loggers import Logger as Logger
from s5rl.training.loggers import TensorBoardLogger as TensorBoardLogger
from s5rl.training.loggers import WandbLogger as WandbLogger
from s5rl.training.checkpoints import CheckpointError as CheckpointError
from s5rl.training.interrupts import TrainingInterrupted as TrainingInterrupted
from s5rl.training.loop import NonFiniteError as NonFiniteError
from s5rl.training.run_directory import RunDirectoryError as RunDirectoryError
from s5rl.training.tables import TableError as TableError
from s5rl.training.policy import Policy as Policy
from s5rl.training.policy import load_policy as load_policy
from s5rl.training.export import export_policy as export_policy
from s5rl.training.in_context import InContextEvaluation as InContextEvaluation
from s5rl.training.in_context import evaluate_in_context as evaluate_in_context
from s5rl.training.in_context import evaluate_random as evaluate_random
from s5rl.training.distributed import connect_processes as connect_processes
