"""Bandits: environments, algorithms, and the loops that play one against the other."""

from claimlab.bandits.algorithms import UCB1, BetaThompson, Exp3
from claimlab.bandits.contextual import ContextualAlgorithm, ContextualEnvironment, play_contextual
from claimlab.bandits.environments import Bernoulli, Stochastic
from claimlab.bandits.play import Algorithm, Environment, Record, play

__all__ = [
    "UCB1",
    "Algorithm",
    "Bernoulli",
    "BetaThompson",
    "ContextualAlgorithm",
    "ContextualEnvironment",
    "Environment",
    "Exp3",
    "Record",
    "Stochastic",
    "play",
    "play_contextual",
]

assert __name__ == "claimlab.bandits", "write `import claimlab.bandits`: `bandits` alone would load a second copy"
