"""Sections 2.1 to 2.4: Assumption 2.1, what it says of the sweeps of SOR, and how the best parameter moves."""

from __future__ import annotations

from functools import partial
from math import log
from typing import Any

import numpy as np

from claimlab.bandits.relaxation import Grid, GridSOR, SPDMatrix, Systems, count_iterations, sor
from claimlab.bandits.relaxation.spectral import (
    jacobi_radius,
    optimal_omega,
    sor_defect,
    young_radius,
)
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import (
    EPS,
    LINK,
    LOWER,
    OMEGA,
    ORDERED,
    RELAXATION,
    SCALES,
    SPD,
    claim,
    exact_defect,
    matrix,
    pair,
    path_radius,
    rayleigh,
    tridiagonal,
    unit_roundings,
    written,
)
from claimlab.mdps.exact import rationals
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Outcome, Rate, rate
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.relaxation import omega_lipschitz, sharp_omega_lipschitz, sor_surrogate
from claimlab.theory.spaces import Box, Space

CAP = 20_000

# Assumption 2.1 -----------------------------------------------------------------------------------------------------

SOLVED = Space(
    {"N": (1, 4)}, {"e": LINK, "d": SCALES, "b": Box("N", -1, 1), "omega": RELAXATION, "tol": Box("", 1e-3, 0.5)}
)


class _Solve:
    """A tridiagonal system solved: the count, and the defect matrix's power at the step before convergence."""

    def __init__(self, e: Array, d: Array, b: Array, omega: Array, tol: Array) -> None:
        A = tridiagonal(e, d)
        self.k = 0
        if A is None or not b.any():
            return
        self.A, self.omega, self.tol = A, float(omega), float(tol)
        self.C = sor_defect(A, self.omega)
        done = sor(SPDMatrix(A), b, self.omega, tol=self.tol, cap=CAP)
        self.sweeps, self.k = done.iterations, done.iterations - 1 if done.converged else 0
        self.power = np.linalg.matrix_power(self.C, max(self.k, 0))
        self.error = 64 * (self.k + 1) * unit_roundings(A) * max(1.0, float(np.linalg.norm(self.C, 2)))


def _transient(*, energy: bool, **case: Array) -> Trial | None:
    solved = _Solve(**case)
    if solved.k < 1:
        return None
    power = solved.power
    if energy:
        G = np.linalg.cholesky(solved.A)
        power = np.linalg.solve(G, power @ G)
    return Trial(float(np.linalg.norm(power, 2)), 1.0, solved.error)


def _exact_transient(e: Array, d: Array, b: Array, omega: Array, tol: Array) -> tuple[Any, Any]:
    """Exactly: the count is what it was, and :math:`C^k` lengthens some vector; squared lengths are returned."""
    A, k = tridiagonal(e, d), _Solve(e, d, b, omega, tol).k
    assert A is not None
    C, r, limit = (
        exact_defect(written(A), written(omega).item()),
        written(b),
        written(tol).item() ** 2 * sum(written(b) ** 2),
    )
    power = rationals(np.eye(len(A), dtype=int))
    for _ in range(k):
        power, r = C @ power, C @ r
        if sum(r**2) <= limit:
            raise ArithmeticError("the exact iteration converges earlier.")
    if sum((C @ r) ** 2) > limit:
        raise ArithmeticError("the exact iteration converges later.")
    x = np.linalg.svd(power.astype(float))[2][0]
    return rayleigh(power.T @ power, rationals(np.eye(len(A), dtype=int)), x), 1


def _transient_check(budget: Budget, energy: bool = False) -> Inequality:
    hard = [
        {"e": np.array([0.9, 0.0]), "d": np.zeros(2), "b": np.array([1.0, 0.91])}
        | {"omega": np.array(1.0), "tol": np.array(0.006)}
    ]
    return attack(
        SOLVED, partial(_transient, energy=energy), budget, hard=hard, recheck=None if energy else _exact_transient
    )


def _sweeps_bound(*, tau: bool, **case: Array) -> Trial | None:
    """The count against `U` with the least admissible tau at this omega, or with tau = 0: the asymptotic rule."""
    solved = _Solve(**case)
    if solved.k < 1 or (norm := float(np.linalg.norm(solved.power, 2))) > 1 - 1e-6 or norm == 0:
        return None
    beta = float(jacobi_radius(solved.A))
    rho = float(young_radius(beta, solved.omega))
    if rho < 1e-9:  # converged at once: the logarithm of 0
        return None
    least = max((norm ** (1 / solved.k) - rho) / (1 - rho), 0.0) if tau else 0.0
    bound = float(sor_surrogate(solved.omega, beta, least, solved.tol))
    error = bound * solved.error / norm / abs(log(norm))
    return Trial(solved.sweeps, bound, error)


def _sweeps_check(budget: Budget, tau: bool = True) -> Inequality:
    slow = {"e": np.array([-0.9, 0.0]), "d": np.zeros(2), "b": np.array([1.0, 1.0])}
    hard = [slow | {"omega": np.array(1.0), "tol": np.array(0.1)}]
    return attack(SOLVED, partial(_sweeps_bound, tau=tau), budget, hard=hard)


# Lemma E.1 ----------------------------------------------------------------------------------------------------------

SHIFTED = Space({"N": (1, 4)}, {"S": LOWER, "d": SCALES, "low": Box("", -3, 1), "step": Box("", -4, 1)})


def _omega_moves(S: Array, d: Array, low: Array, step: Array, *, bound: Any, factor: float) -> Trial | None:
    A = matrix(S, d)
    if A is None:
        return None
    n, least, move = len(A), float(np.linalg.eigvalsh(A)[0]), 10.0 ** float(step)
    start = A + (10.0 ** float(low) - least) * np.eye(n)
    beta = jacobi_radius(np.stack([start, start + move * np.eye(n)]))
    if beta.max() > 1 - 1e-6:
        return None
    moved = abs(float(np.diff(optimal_omega(beta))[0]))
    slope = float(sharp_omega_lipschitz(beta.max(), 1.0) / max(beta.max(), EPS))
    error = 2 * slope * unit_roundings(start) + 8 * EPS
    return Trial(moved, factor * float(bound(beta.max(), np.diagonal(start).min())) * move, error, trivial=1.0)


def _omega_check(budget: Budget, bound: Any, factor: float = 1.0) -> Inequality:
    hard = [pair(0.5) | {"low": np.array(-2.0), "step": np.array(-4.0)}]
    return attack(SHIFTED, partial(_omega_moves, bound=bound, factor=factor), budget, hard=hard)


# how counts grow ----------------------------------------------------------------------------------------------------

SIDES = (8, 12, 18, 27)


def _growth(budget: Budget, best: bool = True) -> Rate:
    """Sweeps on n x n points for random right-hand sides against :math:`1/(1 - \\beta^2)`."""
    betas = np.array([path_radius(n) for n in SIDES])
    draws, columns = 12 if budget.name == "smoke" else 50, []
    for n, beta in zip(SIDES, betas):
        omega = float(optimal_omega(beta)) if best else 1.0
        seed = int(budget.rng("seed", n).integers(2**31))
        systems = Systems(GridSOR(Grid(n, n)), 0.0, 0.0)
        columns.append(count_iterations(systems, [0.0], [omega], cap=CAP, draws=draws, seed=seed)[:, 0, 0])
    return rate(
        1 / (1 - betas**2),
        np.stack(columns, axis=1).astype(np.float64),
        exponent=0.5,
        side="at most",
        rng=budget.rng("bootstrap"),
    )


CLAIMS = (
    claim(
        id="learning-to-relax/near-asymptotic",
        source="Assumption 2.1, taken as a statement",
        statement=(
            r"Every consistently ordered system satisfies Assumption 2.1: for some $\tau < 1$, "
            r"$\|C_\omega^k\|_2 \le (\rho + \tau(1 - \rho))^k$ at the step $k$ before convergence; so "
            r"$\|C_\omega^k\|_2 < 1$ there."
        ),
        kind=Inequality,
        premises=(SPD, ORDERED, OMEGA, r"$k \ge 1$"),
        check=_transient_check,
        control=partial(_transient_check, energy=True),
        control_statement="the same in the energy norm of the error.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/near-asymptotic-in-energy",
        source="ours, repairs Assumption 2.1",
        statement=(
            r"In the energy norm a $\tau < 1$ always exists: $\|A^{-1/2}C_\omega^kA^{1/2}\|_2 < 1$ for every $k \ge 1$."
        ),
        kind=Inequality,
        premises=(SPD, ORDERED, OMEGA),
        check=partial(_transient_check, energy=True),
        control=_transient_check,
        control_statement=r"$\|C_\omega^k\|_2 < 1$ at the step before convergence.",
    ),
    claim(
        id="learning-to-relax/asymptotic-rule",
        source="Section 2.2, the rule of thumb (Hackbusch 2016, Eq. 2.31b)",
        statement=r"SOR takes at most $1 + \log\varepsilon/\log\rho(C_\omega)$ sweeps.",
        kind=Inequality,
        premises=(SPD, ORDERED, OMEGA),
        check=partial(_sweeps_check, tau=False),
        control=_sweeps_check,
        control_statement=r"the same with $\rho + \tau(1 - \rho)$ for $\rho$, $\tau$ from Assumption 2.1.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/surrogate-bounds-sweeps",
        source="Lemma 2.1, item 1",
        statement=(
            r"SOR takes at most $U(\omega) = 1 + \log\varepsilon/\log(\rho + \tau(1 - \rho))$ sweeps, $\tau$ the least "
            "that Assumption 2.1 allows."
        ),
        kind=Inequality,
        premises=(SPD, ORDERED, OMEGA, r"Assumption 2.1 with $\tau < 1$"),
        check=_sweeps_check,
        control=partial(_sweeps_check, tau=False),
        control_statement=r"the same with $\tau = 0$.",
    ),
    claim(
        id="learning-to-relax/best-omega-lipschitz",
        source="Lemma E.1",
        statement=(
            r"$c \mapsto \omega^*(c)$ of $A + cI$ is Lipschitz with "
            r"$\frac{6\beta(1+\beta)}{\sqrt{1-\beta^2}(1+\sqrt{1-\beta^2})^2}"
            r"(\frac{\lambda_{\min}(D)+c_{\min}+1}{\lambda_{\min}(D)+c_{\min}})^2$ at the largest $\beta$."
        ),
        kind=Inequality,
        premises=(SPD, r"$c \ge c_{\min} > -\lambda_{\min}(A)$", r"$\beta < 1$"),
        check=partial(_omega_check, bound=omega_lipschitz),
        control=partial(_omega_check, bound=omega_lipschitz, factor=0.01),
        control_statement="the same with a hundredth of the constant.",
    ),
    claim(
        id="learning-to-relax/best-omega-lipschitz-sharp",
        source="ours, sharpens Lemma E.1",
        statement=(
            r"The constant can be $\frac{2\beta^2}{s(1+s)^2(\lambda_{\min}(D)+c_{\min})}$, $s = \sqrt{1-\beta^2}$, "
            "which matrices with a constant diagonal attain."
        ),
        kind=Inequality,
        premises=(SPD, r"$c \ge c_{\min} > -\lambda_{\min}(A)$", r"$\beta < 1$"),
        check=partial(_omega_check, bound=sharp_omega_lipschitz),
        control=partial(_omega_check, bound=sharp_omega_lipschitz, factor=0.95),
        control_statement="the same with 0.95 of the constant.",
    ),
    claim(
        id="learning-to-relax/best-omega-pays",
        source="Section 2.1, after Young (1971)",
        statement=(
            r"At $\omega^*$ the sweeps on $n \times n$ points grow at most like $(1 - \beta^2)^{-1/2}$, so like $n$."
        ),
        kind=Rate,
        premises=("5-point Laplacian", r"$\varepsilon = 10^{-8}$", "truncated normal right-hand sides"),
        check=_growth,
        control=partial(_growth, best=False),
        control_statement=r"they do at $\omega = 1$.",
    ),
)
