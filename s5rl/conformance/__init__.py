"""The laws of cores and agents as a kit that runs on anybody's: `check_core`, `check_agent`, `s5rl check`."""

from s5rl.conformance.agent_laws import AGENT_LAWS as AGENT_LAWS
from s5rl.conformance.agent_subject import WINDOWS as WINDOWS
from s5rl.conformance.agent_subject import AgentSubject as AgentSubject
from s5rl.conformance.agent_subject import Window as Window
from s5rl.conformance.case import Case as Case
from s5rl.conformance.case import make_case as make_case
from s5rl.conformance.case import one_case_a_shape as one_case_a_shape
from s5rl.conformance.case import small_cases as small_cases
from s5rl.conformance.law import Law as Law
from s5rl.conformance.laws import LAWS as LAWS
from s5rl.conformance.load import LoadError as LoadError
from s5rl.conformance.load import load_core as load_core
from s5rl.conformance.measure import Deviation as Deviation
from s5rl.conformance.report import LawReport as LawReport
from s5rl.conformance.report import Report as Report
from s5rl.conformance.report import check_agent as check_agent
from s5rl.conformance.report import check_core as check_core
from s5rl.conformance.report import check_law as check_law
from s5rl.conformance.subject import Subject as Subject
from s5rl.conformance.subject import UnhashableCoreError as UnhashableCoreError
