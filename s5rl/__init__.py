"""Memory for reinforcement learning in JAX."""
