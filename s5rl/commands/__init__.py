"""The commands of `s5rl`, one a file; `s5rl.cli` puts them together."""
