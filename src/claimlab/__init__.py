"""Executable theory of bandits and reinforcement learning: claims that can fail, solvers that prove their error."""
