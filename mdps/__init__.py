"""Finite MDPs: models, instances, exact and certified solvers."""

from claimlab.mdps.planning import (
    Evaluation,
    NotConverged,
    Solution,
    action_values,
    bellman,
    gaps,
    modified_policy_iteration,
    occupancy,
    optimal_actions,
    policy_iteration,
    policy_value,
    solve,
    value_iteration,
)
from claimlab.mdps.tabular import AverageMDP, EpisodicMDP, TabularMDP

__all__ = [
    "AverageMDP",
    "EpisodicMDP",
    "Evaluation",
    "NotConverged",
    "Solution",
    "TabularMDP",
    "action_values",
    "bellman",
    "gaps",
    "modified_policy_iteration",
    "occupancy",
    "optimal_actions",
    "policy_iteration",
    "policy_value",
    "solve",
    "value_iteration",
]

assert __name__ == "claimlab.mdps", "write `import claimlab.mdps`: `mdps` alone would load a second copy"
