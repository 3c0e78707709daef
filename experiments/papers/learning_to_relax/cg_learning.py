r"""Section 2.4 on real solves: how tight the surrogate of conjugate gradients is, and Theorem 2.3 from end to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np

from claimlab.bandits.play import play
from claimlab.bandits.relaxation import SPDMatrix, ssor_cg
from claimlab.bandits.relaxation.environment import (
    SSORCG,
    RelaxationBandit,
    Systems,
    average_costs,
    expected_costs,
    iterations,
)
from claimlab.bandits.relaxation.spectral import condition, mu, nu
from claimlab.bandits.relaxation.systems import l_shape, laplacian, shifted, square, truncated_normal
from claimlab.bandits.weights import TsallisINF
from claimlab.checks import Array, Bools
from claimlab.experiments.papers.learning_to_relax.cg import LEFT
from claimlab.experiments.papers.learning_to_relax.common import claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, all_of, comparison
from claimlab.theory.relaxation import cg_surrogate, cg_surrogate_cap, repaired_cg_semi_lipschitz
from claimlab.theory.relaxation_regret import semi_lipschitz

EPS = 1e-8
DOMAINS = ((square, 0.0), (l_shape, 0.0), (square, 0.5), (l_shape, 0.5))  # of Figure 4, 12 points along a side
GRID = np.linspace(LEFT, 1.9, 30)


def least_tau(inside: Callable[[int], Bools], c: float, draws: int, rng: np.random.Generator) -> Array:
    r"""The least :math:`\tau` that keeps the surrogate above the counts at all of `GRID`, for each b, float[draws]."""
    A = shifted(laplacian(inside(12)), c)
    dense, matrix, b = A.toarray(), SPDMatrix(A), np.zeros(A.shape[0])
    above = cg_surrogate(GRID, float(mu(dense)), float(nu(dense)), float(condition(dense)), EPS) - 1
    tau = np.zeros(draws)
    for i in range(draws):
        truncated_normal(b, rng)
        steps = np.array([ssor_cg(matrix, b, omega, tol=EPS).iterations for omega in GRID])
        tau[i] = ((steps - 1) / above).max()
    return tau


def _tau_check(budget: Budget, least: float = 0.65) -> Comparison:
    r"""The surrogate is above the counts, so :math:`\tau` lies between 0 and 1; it takes three values or so."""
    runs, pieces = 60 if budget.name == "smoke" else 100, []
    for inside, c in DOMAINS:
        name = f"{inside.__name__}, c = {c:g}"
        tau = least_tau(inside, c, runs, budget.rng(name))
        rng = budget.rng("bootstrap", name)
        found = comparison(tau, np.full(runs, least), effect=0.0, rng=rng, within=(-least, 1 - least))
        pieces.append(replace(found, witness={"domain": name, "mean tau": float(tau.mean())}))
    return all_of(pieces)


# Theorem 2.3 ----------------------------------------------------------------------------------------------------------

LAPLACIAN = laplacian(square(7))  # 25 unknowns
FAMILY = Systems(SSORCG(SPDMatrix(LAPLACIAN)), 0.5, 0.5, 1.0, 1.0, tol=EPS)
FIRST = shifted(LAPLACIAN, 0.5).toarray()  # the hardest of the family
MU, NU, KAPPA = float(mu(FIRST)), float(nu(FIRST)), float(condition(FIRST))
TOP = 2 / (1 + MU**-0.5)  # the right end of the interval of Lemma E.2, item 4
K = float(cg_surrogate_cap(MU, KAPPA, EPS)) - 1
SLOPE = float(repaired_cg_semi_lipschitz(MU, KAPPA, EPS))


def arms(d: int) -> Array:
    """Rounding goes towards the left end, which the grid holds."""
    return np.asarray(LEFT + (TOP - LEFT) * np.arange(d) / d)


@cache
def surrogates() -> float:
    r""":math:`\min_\omega\mathbb E\,U^{CG}(\omega)`, over 50 equally likely shifts."""
    omegas, total = np.linspace(LEFT, TOP, 200), np.zeros(200)
    for c in FAMILY.quantiles(50):
        A = shifted(LAPLACIAN, float(c)).toarray()
        total += cg_surrogate(omegas, float(mu(A)), float(nu(A)), float(condition(A)), EPS)
    return float(total.min() / 50)


@cache
def least_cost() -> float:
    """Expected iterations of the best fixed omega."""
    costs = expected_costs(FAMILY, arms(20), cap=round(K) + 1, nodes=8, draws=200, seed=1)
    return float(average_costs(FAMILY, costs).min())


@cache  # the claim and its control look at the same runs
def solves(d: int, T: int, runs: int, seed: int) -> Array:
    """Iterations in total, float[runs], with d arms and the step size of the theorem."""
    env = RelaxationBandit(FAMILY, arms(d), int(np.ceil(K)), np.zeros(d))  # regret is not reckoned
    alg = TsallisINF(rate=2 * np.sqrt(2 / T), anytime=False)
    record = play(alg, env, horizon=T, runs=runs, seed=seed, checkpoints=1)
    return iterations(record.reward[:, -1], env.cap, T)


def _guarantee_check(budget: Budget, with_regret: bool = True) -> Comparison:
    T, runs, cap = 50_000, 12 if budget.name == "smoke" else 50, int(np.ceil(K))
    d = round((((TOP - LEFT) * SLOPE) ** 2 * T / (2 * K**2)) ** (1 / 3))
    paid = solves(d, T, runs, int(budget.rng("play").integers(2**31)))
    regret = semi_lipschitz(d, T, cap, TOP - LEFT, SLOPE * T)
    bound = regret + T * surrogates() if with_regret else T * least_cost()
    witness = {"iterations a system": float(paid.mean() / T), "bound": bound / T, "trivial": K + 1, "d": d}
    witness |= {"surrogate of the best omega": surrogates(), "cost of the best omega": least_cost()}
    found = comparison(np.full(runs, bound), paid, effect=0.0, rng=budget.rng("bootstrap"))
    return replace(found, witness=witness)


CLAIMS = (
    claim(
        id="learning-to-relax/cg-tau",
        source="Section 2.4 and Figure 4",
        statement=(
            r"For preconditioned conjugate gradients the $\tau$ that $U^{CG}$ needs is often around $3/4$ or larger: "
            r"on the domains of Figure 4 its mean is at least $0.65$ (bound ours)."
        ),
        kind=Comparison,
        premises=(
            r"5-point Laplacians of the square and the L-shape, 12 points along a side, plus 0 or $I/2$; "
            r"$\varepsilon = 10^{-8}$; $\omega \in [2\sqrt2 - 2, 1.9]$",
            "60 truncated normal right-hand sides (100 beyond the smoke budget); 12 and 24 did not decide",
        ),
        check=_tau_check,
        control=partial(_tau_check, least=0.9),
        control_statement="it is at least 0.9.",
    ),
    claim(
        id="learning-to-relax/cg-end-to-end",
        source="Theorem 2.3, with Lemma E.2 repaired and constants",
        statement=(
            r"$\mathbb E\sum_t\mathrm{CG}_t(\omega_t) \le 2K\sqrt{2dT} + \frac{b-a}d\,0.55\,\Lambda\mu_{\max}^{3/4}T + "
            r"\min_\omega\sum_tU^{CG}_t(\omega)$ for Tsallis-INF with $\eta = 2\sqrt{2/T}$ on a grid of "
            r"$[a, b] = [2\sqrt2 - 2, 2/(1 + 1/\sqrt{\mu_{\max}})]$ that holds $a$."
        ),
        kind=Comparison,
        premises=(
            r"Laplacian of $5 \times 5$ points plus $cI$, $c$ uniform on $[\frac12, 1]$ and hidden; $b$ a truncated "
            r"normal vector, $\varepsilon = 10^{-8}$, $\tau = 1$; 50 000 systems, $d$ the best",
            r"the printed bound has no constant, and lacks a factor $\Lambda^{1/3}$ (cg-semi-lipschitz)",
        ),
        check=_guarantee_check,
        control=partial(_guarantee_check, with_regret=False),
        control_statement=r"the right side is the expected cost of the best fixed $\omega$: learning is for free.",
    ),
)
