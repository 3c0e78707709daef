"""Bandits: environments, algorithms, and the loops that play one against the other."""

from claimlab.bandits.contextual import ContextualAlgorithm, ContextualEnvironment, play_contextual
from claimlab.bandits.environments import Bernoulli, Stochastic
from claimlab.bandits.optimism import UCB1
from claimlab.bandits.play import Algorithm, Environment, Record, play
from claimlab.bandits.posterior import BetaThompson
from claimlab.bandits.weights import Exp3, TsallisINF

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
    "TsallisINF",
    "play",
    "play_contextual",
]

assert __name__ == "claimlab.bandits", "write `import claimlab.bandits`: `bandits` alone would load a second copy"
