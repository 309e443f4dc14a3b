"""Several processes of one run on this machine: started, watched, and started again where they die."""

from s5rl.launching.heartbeat import beat as beat
from s5rl.launching.supervisor import INTERRUPTED as INTERRUPTED
from s5rl.launching.supervisor import supervise as supervise
