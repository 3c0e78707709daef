"""Bandits: environments, algorithms, and the loops that play one against the other."""

from claimlab.bandits.contextual import ContextualAlgorithm, ContextualEnvironment, play_contextual
from claimlab.bandits.contextual_environments import DisjointLinear, PiecewiseLinear, SharedLinear
from claimlab.bandits.environments import Bernoulli, Stochastic
from claimlab.bandits.interval_contextual import AdaptiveChebCB, ChebCB, TsallisCB, chebcb_rate
from claimlab.bandits.linear_contextual import LinUCB, SharedLinUCB, SquareCB, squarecb_rate
from claimlab.bandits.optimism import UCB1
from claimlab.bandits.play import Algorithm, Environment, Record, play
from claimlab.bandits.posterior import BetaThompson
from claimlab.bandits.weights import Exp3, TsallisINF

__all__ = [
    "UCB1",
    "AdaptiveChebCB",
    "Algorithm",
    "Bernoulli",
    "BetaThompson",
    "ChebCB",
    "ContextualAlgorithm",
    "ContextualEnvironment",
    "DisjointLinear",
    "Environment",
    "Exp3",
    "LinUCB",
    "PiecewiseLinear",
    "Record",
    "SharedLinUCB",
    "SharedLinear",
    "SquareCB",
    "Stochastic",
    "TsallisCB",
    "TsallisINF",
    "chebcb_rate",
    "play",
    "play_contextual",
    "squarecb_rate",
]

assert __name__ == "claimlab.bandits", "write `import claimlab.bandits`: `bandits` alone would load a second copy"
