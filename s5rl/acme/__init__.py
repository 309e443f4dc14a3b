"""Cores and agents inside dm-acme's own pipelines; call `s5rl.acme.compat.install()` before `import acme`."""
