"""Bandits: environments, algorithms, and the loops that play one against the other."""

from claimlab.bandits.algorithms import UCB1, BetaThompson, Exp3
from claimlab.bandits.contextual import ContextualAlgorithm, ContextualEnvironment, play_contextual
from claimlab.bandits.dynamical import (
    DynamicalLinear,
    expected_rewards,
    finite_horizon_optimum,
    from_outputs,
    markov_parameters,
    transient_growth,
)
from claimlab.bandits.dynlin import DynLinUCB
from claimlab.bandits.environments import Bernoulli, Stochastic
from claimlab.bandits.linear import DLinUCB, Growth, LinearArms, LinUCB
from claimlab.bandits.memory import AR2, BatchedExp3
from claimlab.bandits.play import Algorithm, Environment, Record, play

__all__ = [
    "AR2",
    "UCB1",
    "Algorithm",
    "BatchedExp3",
    "Bernoulli",
    "BetaThompson",
    "ContextualAlgorithm",
    "ContextualEnvironment",
    "DLinUCB",
    "DynLinUCB",
    "DynamicalLinear",
    "Environment",
    "Exp3",
    "Growth",
    "LinUCB",
    "LinearArms",
    "Record",
    "Stochastic",
    "expected_rewards",
    "finite_horizon_optimum",
    "from_outputs",
    "markov_parameters",
    "play",
    "play_contextual",
    "transient_growth",
]

assert __name__ == "claimlab.bandits", "write `import claimlab.bandits`: `bandits` alone would load a second copy"
