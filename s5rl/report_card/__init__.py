"""The memory report card: a core on a ladder of small tasks, its resets and its costs, in a few minutes."""

from s5rl.report_card.card import ReportCard as ReportCard
from s5rl.report_card.card import TaskScore as TaskScore
from s5rl.report_card.card import conditions as conditions
from s5rl.report_card.card import make_report_card as make_report_card
from s5rl.report_card.costs import Costs as Costs
from s5rl.report_card.costs import measure_costs as measure_costs
from s5rl.report_card.figure import plot_cards as plot_cards
from s5rl.report_card.files import read_cards as read_cards
from s5rl.report_card.files import stored_cards as stored_cards
from s5rl.report_card.files import write_cards as write_cards
from s5rl.report_card.ladder import FAMILIES as FAMILIES
from s5rl.report_card.ladder import LADDER as LADDER
from s5rl.report_card.ladder import Family as Family
from s5rl.report_card.ladder import Task as Task
from s5rl.report_card.ladder import select_tasks as select_tasks
from s5rl.report_card.learner import SMALL_CORES as SMALL_CORES
from s5rl.report_card.learner import make_learner as make_learner
