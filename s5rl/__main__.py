"""`python -m s5rl COMMAND`, the same as `s5rl COMMAND`."""

from s5rl.cli import main

main()
