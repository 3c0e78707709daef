"""Bandits: environments, algorithms, and the loops that play one against the other."""

from claimlab.bandits.changing import AutoRegressive, Drifting, StochasticallyConstrained, Switching, Table
from claimlab.bandits.contextual import ContextualAlgorithm, ContextualEnvironment, play_contextual
from claimlab.bandits.contextual_environments import DisjointLinear, PiecewiseLinear, SharedLinear
from claimlab.bandits.dynamical import (
    DynamicalLinear,
    expected_rewards,
    finite_horizon_optimum,
    from_outputs,
    markov_parameters,
    transient_growth,
)
from claimlab.bandits.dynlin import DynLinUCB
from claimlab.bandits.environments import Bernoulli, Gaussian, Stochastic
from claimlab.bandits.exact import expected_regret
from claimlab.bandits.greedy import DecreasingEpsilonGreedy, EpsilonGreedy
from claimlab.bandits.identification import Identified, track_and_stop
from claimlab.bandits.interval_contextual import AdaptiveChebCB, ChebCB, TsallisCB, chebcb_rate
from claimlab.bandits.linear import DLinUCB, Growth, LinearArms, LinUCB
from claimlab.bandits.linear_contextual import DisjointLinUCB, SharedLinUCB, SquareCB, squarecb_rate
from claimlab.bandits.memory import AR2, BatchedExp3
from claimlab.bandits.off_policy import (
    BanditLog,
    Evaluation,
    evaluate_log,
    least_squares_model,
    minimum_variance_model,
)
from claimlab.bandits.optimism import KLUCB, MOSS, UCB1, AnytimeMOSS, GaussianKLUCB
from claimlab.bandits.play import Algorithm, Environment, Record, play
from claimlab.bandits.posterior import BetaThompson, GaussianThompson
from claimlab.bandits.weights import (
    Exp3,
    Exp3IX,
    Exp3Mixing,
    TsallisINF,
    anytime_rate,
    exp3_rate,
    mixing_rate,
    tsallis_weights,
)
from claimlab.bandits.wrappers import Batched, Delayed

__all__ = [
    "AR2",
    "KLUCB",
    "MOSS",
    "UCB1",
    "AdaptiveChebCB",
    "Algorithm",
    "AnytimeMOSS",
    "AutoRegressive",
    "BanditLog",
    "Batched",
    "BatchedExp3",
    "Bernoulli",
    "BetaThompson",
    "ChebCB",
    "ContextualAlgorithm",
    "ContextualEnvironment",
    "DLinUCB",
    "DecreasingEpsilonGreedy",
    "Delayed",
    "DisjointLinUCB",
    "DisjointLinear",
    "Drifting",
    "DynLinUCB",
    "DynamicalLinear",
    "Environment",
    "EpsilonGreedy",
    "Evaluation",
    "Exp3",
    "Exp3IX",
    "Exp3Mixing",
    "Gaussian",
    "GaussianKLUCB",
    "GaussianThompson",
    "Growth",
    "Identified",
    "LinUCB",
    "LinearArms",
    "PiecewiseLinear",
    "Record",
    "SharedLinUCB",
    "SharedLinear",
    "SquareCB",
    "Stochastic",
    "StochasticallyConstrained",
    "Switching",
    "Table",
    "TsallisCB",
    "TsallisINF",
    "anytime_rate",
    "chebcb_rate",
    "evaluate_log",
    "exp3_rate",
    "expected_regret",
    "expected_rewards",
    "finite_horizon_optimum",
    "from_outputs",
    "least_squares_model",
    "markov_parameters",
    "minimum_variance_model",
    "mixing_rate",
    "play",
    "play_contextual",
    "squarecb_rate",
    "track_and_stop",
    "transient_growth",
    "tsallis_weights",
]

assert __name__ == "claimlab.bandits", "write `import claimlab.bandits`: `bandits` alone would load a second copy"
