"""Finite MDPs: models, instances, exact and certified solvers."""

from claimlab.mdps.average import AverageEvaluation, AverageSolution, gain_and_bias, relative_value_iteration
from claimlab.mdps.average_discounted import UCLKC, GammaLSCVI
from claimlab.mdps.average_learning import AverageLearner, AverageRecord, learn_average
from claimlab.mdps.average_optimism import KLUCRL, UCRL2
from claimlab.mdps.balls import KL, L1, Ball, ChiSquare, TotalVariation
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.blackjack import blackjack_state, blackjack_table
from claimlab.mdps.certificates import Evaluation, NotConverged, Solution
from claimlab.mdps.confidence import BernsteinSets, L1Sets, Sets
from claimlab.mdps.conservative import (
    BudgetExploration,
    EpsMix,
    Pessimism,
    StepMix,
    pessimistic_value_iteration,
)
from claimlab.mdps.convert import discounted, episodic_from_gymnasium, from_gymnasium, long_run, time_limited
from claimlab.mdps.episodes import EpisodeRecord, Learner, play_episodes
from claimlab.mdps.episodic import EpisodicSolution, backward_induction, episodic_occupancy, episodic_policy_value
from claimlab.mdps.exact import (
    ExactSolution,
    optimal_actions_exactly,
    policy_value_exactly,
    rationals,
    solve_exactly,
    solve_linear,
)
from claimlab.mdps.games import (
    BestResponses,
    GameSolution,
    MarkovGame,
    MatrixSolution,
    best_responses,
    shapley_iteration,
    solve_game,
    solve_matrix_game,
)
from claimlab.mdps.gridworlds import cliff_walking, gridworld
from claimlab.mdps.hypotheses import Hypotheses, Models, models
from claimlab.mdps.instances import (
    average_river_swim,
    chain,
    combination_lock,
    corridor,
    deep_sea,
    episodic_river_swim,
    garnet,
    jao,
    river_swim,
    two_states,
)
from claimlab.mdps.inverse import inverse_bellman, with_optimal_values
from claimlab.mdps.linear_program import LPSolution, flow_residual, solve_lp
from claimlab.mdps.loop import MLELOOP, Audited, ModelLOOP, ValueLOOP, audit
from claimlab.mdps.loop_linear import LinearLOOP, MixtureLOOP, hard_linear_mixture
from claimlab.mdps.loop_tabular import TabularLOOP, ellipsoidal_plan
from claimlab.mdps.off_policy import EpisodeLog, evaluate_episodes, fitted_q, occupancy_ratios, sample_episodes
from claimlab.mdps.off_policy_discounted import TransitionLog, evaluate_transitions, stationary_ratios
from claimlab.mdps.optimistic import UCBVI, BernsteinBonus, Bonus, Fixed, HoeffdingBonus, Optimism, SimplifiedBonus
from claimlab.mdps.peers import QuantEconArrays, from_pymdptoolbox, from_quantecon, to_quantecon
from claimlab.mdps.planning import (
    action_values,
    bellman,
    gaps,
    krylov_policy_iteration,
    modified_policy_iteration,
    occupancy,
    optimal_actions,
    policy_iteration,
    policy_value,
    solve,
    value_iteration,
)
from claimlab.mdps.regularized import (
    SoftSolution,
    soft_maximum,
    soft_policy_iteration,
    soft_solve,
    soft_value_iteration,
)
from claimlab.mdps.robust import (
    robust_policy_value,
    robust_value_iteration,
    solve_robust,
    worst_transitions,
)
from claimlab.mdps.simulate import (
    Returns,
    Rollouts,
    monte_carlo_returns,
    propagate_counts,
    rollouts,
)
from claimlab.mdps.staged import (
    StagedMDP,
    StagedOptimum,
    softened,
    staged,
    staged_optimum,
    staged_value,
    transition_data,
)
from claimlab.mdps.storage import load, save
from claimlab.mdps.tabular import AverageMDP, EpisodicMDP, TabularMDP
from claimlab.mdps.trees import TokenTree, token_tree

__all__ = [
    "KL",
    "KLUCRL",
    "L1",
    "MLELOOP",
    "UCBVI",
    "UCLKC",
    "UCRL2",
    "Audited",
    "AverageEvaluation",
    "AverageLearner",
    "AverageMDP",
    "AverageRecord",
    "AverageSolution",
    "Ball",
    "BernsteinBonus",
    "BernsteinSets",
    "BestResponses",
    "Bonus",
    "BudgetExploration",
    "ChiSquare",
    "EpisodeLog",
    "EpisodeRecord",
    "EpisodicMDP",
    "EpisodicSolution",
    "EpsMix",
    "Evaluation",
    "ExactSolution",
    "Fixed",
    "GameSolution",
    "GammaLSCVI",
    "HoeffdingBonus",
    "Hypotheses",
    "L1Sets",
    "LPSolution",
    "Learner",
    "LinearLOOP",
    "MDPBatch",
    "MarkovGame",
    "MatrixSolution",
    "MixtureLOOP",
    "ModelLOOP",
    "Models",
    "NotConverged",
    "Optimism",
    "Pessimism",
    "QuantEconArrays",
    "Returns",
    "Rollouts",
    "Sets",
    "SimplifiedBonus",
    "SoftSolution",
    "Solution",
    "StagedMDP",
    "StagedOptimum",
    "StepMix",
    "TabularLOOP",
    "TabularMDP",
    "TokenTree",
    "TotalVariation",
    "TransitionLog",
    "ValueLOOP",
    "action_values",
    "audit",
    "average_river_swim",
    "backward_induction",
    "bellman",
    "best_responses",
    "blackjack_state",
    "blackjack_table",
    "chain",
    "cliff_walking",
    "combination_lock",
    "corridor",
    "deep_sea",
    "discounted",
    "ellipsoidal_plan",
    "episodic_from_gymnasium",
    "episodic_occupancy",
    "episodic_policy_value",
    "episodic_river_swim",
    "evaluate_episodes",
    "evaluate_transitions",
    "fitted_q",
    "flow_residual",
    "from_gymnasium",
    "from_pymdptoolbox",
    "from_quantecon",
    "gain_and_bias",
    "gaps",
    "garnet",
    "gridworld",
    "hard_linear_mixture",
    "inverse_bellman",
    "jao",
    "krylov_policy_iteration",
    "learn_average",
    "load",
    "long_run",
    "models",
    "modified_policy_iteration",
    "monte_carlo_returns",
    "occupancy",
    "occupancy_ratios",
    "optimal_actions",
    "optimal_actions_exactly",
    "pessimistic_value_iteration",
    "play_episodes",
    "policy_iteration",
    "policy_value",
    "policy_value_exactly",
    "propagate_counts",
    "rationals",
    "relative_value_iteration",
    "river_swim",
    "robust_policy_value",
    "robust_value_iteration",
    "rollouts",
    "sample_episodes",
    "save",
    "shapley_iteration",
    "soft_maximum",
    "soft_policy_iteration",
    "soft_solve",
    "soft_value_iteration",
    "softened",
    "solve",
    "solve_exactly",
    "solve_game",
    "solve_linear",
    "solve_lp",
    "solve_matrix_game",
    "solve_robust",
    "staged",
    "staged_optimum",
    "staged_value",
    "stationary_ratios",
    "time_limited",
    "to_quantecon",
    "token_tree",
    "transition_data",
    "two_states",
    "value_iteration",
    "with_optimal_values",
    "worst_transitions",
]

assert __name__ == "claimlab.mdps", "write `import claimlab.mdps`: `mdps` alone would load a second copy"
