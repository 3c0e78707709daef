"""Relaxation solvers with a parameter, and the choice of that parameter as a bandit (Khodak et al. 2024)."""

from claimlab.bandits.relaxation.environment import (
    SOR,
    SSOR,
    SSORCG,
    Costs,
    GridSOR,
    RelaxationBandit,
    ShiftedRelaxationBandit,
    Solver,
    Systems,
    average_costs,
    count_iterations,
    expected_costs,
    iterations,
)
from claimlab.bandits.relaxation.matrices import Grid, SPDMatrix
from claimlab.bandits.relaxation.solvers import Solution, cg, grid_sor, red_black_sor, sor, ssor, ssor_cg

__all__ = [
    "SOR",
    "SSOR",
    "SSORCG",
    "Costs",
    "Grid",
    "GridSOR",
    "RelaxationBandit",
    "SPDMatrix",
    "ShiftedRelaxationBandit",
    "Solution",
    "Solver",
    "Systems",
    "average_costs",
    "cg",
    "count_iterations",
    "expected_costs",
    "grid_sor",
    "iterations",
    "red_black_sor",
    "sor",
    "ssor",
    "ssor_cg",
]
