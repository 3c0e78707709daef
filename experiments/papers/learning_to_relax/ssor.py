r"""Section 3 and Appendix F: symmetric SOR on random right-hand sides."""

from __future__ import annotations

from functools import partial
from math import erf, sqrt
from typing import Any

import numpy as np
import sympy
from scipy.integrate import quad
from scipy.stats import chi2, norm

from claimlab.bandits.relaxation.spectral import (
    condition,
    energy_contraction,
    mu,
    sor_weight,
    ssor_defect,
    ssor_weight,
)
from claimlab.bandits.relaxation.systems import truncated_normal
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import (
    LOWER,
    OMEGA,
    SCALES,
    SPD,
    claim,
    fewer,
    matrix,
    pair,
    unit_roundings,
)
from claimlab.experiments.papers.learning_to_relax.young import gram
from claimlab.native import kernel
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome, Probability, probability
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.relaxation import (
    anti_concentration,
    ssor_residual_lipschitz,
    ssor_shift_lipschitz,
)
from claimlab.theory.spaces import Box, Space

# derivatives --------------------------------------------------------------------------------------------------------

TINY = Space({"N": (1, 2)}, {"B": Box("NN", -2, 2, step=1), "tenths": Box("", 1, 19, step=1)})


def _shift_derivative(B: Array, tenths: Array, *, printed: bool) -> Trial:
    """The second form of Eq. (41) against the derivative of the defect matrix, symbolically."""
    c, w = sympy.Symbol("c"), sympy.Rational(int(tenths), 10)
    A = sympy.Matrix(gram(B).tolist()) + c * sympy.eye(len(B))
    D, L = sympy.diag(*[A[i, i] for i in range(len(B))]), A.lower_triangular(-1)
    inverse = (D / w + L).inv()
    f = (2 - w) / w
    weight = f * inverse.T * D * inverse
    truth = (-A * weight).diff(c).subs(c, 0)
    A, inverse, weight = (X.subs(c, 0) for X in (A, inverse, weight))
    extra = f if printed else 1
    form = -extra * weight - f * A * inverse.T * inverse + extra / w * A * (inverse.T * weight + weight * inverse)
    return Trial(float(max(abs(x) for x in truth - form)), 0.0)


def _shift_derivative_check(budget: Budget, printed: bool = False) -> Identity:
    hard = [{"B": np.zeros((1, 1)), "tenths": np.array(15.0)}]
    measure = partial(_shift_derivative, printed=printed)
    return equate(TINY, measure, fewer(budget, 40, 20), hard=hard, proof="sympy")


def _omega_derivative(B: Array, tenths: Array, *, factor: int) -> Trial:
    """The derivative that `_by_omega` takes slopes from against that of the defect matrix, symbolically."""
    x, w = sympy.Symbol("omega"), sympy.Rational(int(tenths), 10)
    A = sympy.Matrix(gram(B).tolist())
    D, L = sympy.diag(*[A[i, i] for i in range(len(B))]), A.lower_triangular(-1)
    inverse = (D / x + L).inv()
    weight = (2 - x) / x * inverse.T * D * inverse
    truth = (-A * weight).diff(x).subs(x, w)
    inverse, weight = inverse.subs(x, w), weight.subs(x, w)
    form = A * ((1 / (2 - w) + factor / w) * weight - (inverse.T * D * weight + weight * D * inverse) / w**2)
    return Trial(float(max(abs(y) for y in truth - form)), 0.0)


def _omega_derivative_check(budget: Budget, factor: int = 1) -> Identity:
    hard = [{"B": np.zeros((1, 1)), "tenths": np.array(15.0)}]
    return equate(TINY, partial(_omega_derivative, factor=factor), fewer(budget, 40, 20), hard=hard, proof="sympy")


STEPPED = Space(
    {"N": (1, 4)},
    {"S": LOWER, "d": SCALES, "b": Box("N", -1, 1), "omega": Box("", 1.0, 1.95), "k": Box("", 1, 20, step=1)}
    | {"low": Box("", -6, 1), "more": Box("", -9, 1)},
)


def _slope(C: Array, dC: Array, b: Array, k: int) -> float:
    r"""The derivative of :math:`\|C^kb\|_2` in the direction `dC`."""
    powers = [b / np.linalg.norm(b)]
    for _ in range(k):
        powers.append(C @ powers[-1])
    moved = np.zeros_like(b)
    for i in range(k):
        moved = C @ moved + dC @ powers[i]
    return abs(float(powers[-1] @ moved)) / float(np.linalg.norm(powers[-1]))


def _by_omega(
    S: Array, d: Array, b: Array, omega: Array, k: Array, low: Array, more: Array, *, share: float
) -> Trial | None:
    A, w = matrix(S, d), float(omega)
    if A is None or not b.any():
        return None
    D = np.diag(np.diagonal(A))
    inverse, weight = np.linalg.inv(sor_weight(A, w)), np.linalg.inv(ssor_weight(A, w))
    dC = A @ ((1 / (2 - w) + 1 / w) * weight - (inverse.T @ D @ weight + weight @ D @ inverse) / w**2)
    rho = float(energy_contraction(A, w))
    if rho < 1e-3:
        return None
    bound = float(ssor_residual_lipschitz(int(k), rho, condition(A), w, mu(A)))
    return Trial(_slope(ssor_defect(A, w), dC, b, int(k)), share * bound, int(k) * unit_roundings(A) * bound)


def _by_shift(
    S: Array, d: Array, b: Array, omega: Array, k: Array, low: Array, more: Array, *, share: float = 1.0, repaired: bool
) -> Trial | None:
    """As printed the condition number is that of `A`; the proof's Eq. (40) has that of the shifted matrix."""
    A, w = matrix(S, d), float(omega)
    if A is None or not b.any():
        return None
    least = 10.0 ** float(low)
    here = A + (least - np.linalg.eigvalsh(A)[0] + 10.0 ** float(more)) * np.eye(len(A))
    inverse, weight = np.linalg.inv(sor_weight(here, w)), np.linalg.inv(ssor_weight(here, w))
    dC = -weight - (2 - w) / w * here @ inverse.T @ inverse + here @ (inverse.T @ weight + weight @ inverse) / w
    rho = float(energy_contraction(here, w))
    if rho < 1e-3:
        return None
    bound = float(ssor_shift_lipschitz(int(k), rho, condition(here if repaired else A), least))
    return Trial(_slope(ssor_defect(here, w), dC, b, int(k)), share * bound, int(k) * unit_roundings(here) * bound)


def _slope_check(budget: Budget, measure: Any, share: float = 1.0) -> Inequality:
    skewed = {"d": np.array([-1.0, 0.0]), "b": np.array([1.0, 0.0]), "omega": np.array(1.5), "k": np.array(1.0)}
    hard = [pair(0.03) | skewed | {"low": np.array(-5.5), "more": np.array(-9.0)}]
    return attack(STEPPED, partial(measure, share=share), budget, hard=hard)


# anti-concentration -------------------------------------------------------------------------------------------------

INTERVALS = Space({}, {"n": Box("", 1, 40, step=1), "start": Box("", 1e-6, 3), "width": Box("", 1e-3, 2)})


def _rank_one(n: Array, start: Array, width: Array, *, share: float) -> Trial | None:
    """The law of one coordinate of a truncated normal vector: its density is the normal one times that of the rest."""
    size, low = int(n), float(start)
    high = min(low + float(width), sqrt(size))
    if high <= low:
        return None
    if size == 1:
        value, error = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / erf(1 / sqrt(2)), 1e-14
    else:
        integral: Any = quad(lambda x: 2 * norm.pdf(x) * chi2.cdf(size - x * x, size - 1), low, high)
        inside = float(chi2.cdf(size, size))
        value, error = integral[0] / inside, integral[1] / inside + 1e-12
    return Trial(value, share * float(anti_concentration(float(width), 1.0)), error, trivial=1.0)


def _rank_one_check(budget: Budget, share: float = 1.0) -> Inequality:
    hard = [{"n": np.array(1.0), "start": np.array(1e-6), "width": np.array(0.01)}]
    return attack(INTERVALS, partial(_rank_one, share=share), fewer(budget, 2), hard=hard)


@kernel
def _inside(scale: Array, low: float, high: float, runs: int, rng: np.random.Generator) -> int:
    """How often the length of ``scale * b`` falls into (low, high], `b` truncated normal."""
    b, found = np.zeros(scale.size), 0
    for _ in range(runs):
        truncated_normal(b, rng)
        total = 0.0
        for i in range(b.size):
            total += scale[i] * scale[i] * b[i] * b[i]
        found += low * low < total <= high * high
    return found


def _ellipsoid(budget: Budget, share: float = 1.0) -> Probability:
    """A diagonal matrix of three unknowns, close to rank one, and an interval at 0."""
    scale, width, runs = np.array([1.0, 0.02, 0.01]), 0.05, 50 * budget.runs
    found = _inside(scale, 1e-3, 1e-3 + width, runs, budget.rng("draws"))
    return probability(found, runs, share * float(anti_concentration(width, 1.0)), {"X": scale, "width": width})


CLAIMS = (
    claim(
        id="learning-to-relax/omega-derivative",
        source="Eq. (37), as we derive it",
        statement=(
            r"$\partial_\omega\breve C_\omega = A\big((\frac1{2-\omega} + \frac1\omega)\breve W^{-1} - "
            r"\frac1{\omega^2}(W^{-T}D\breve W^{-1} + \breve W^{-1}DW^{-1})\big)$."
        ),
        kind=Identity,
        premises=(SPD, OMEGA),
        check=_omega_derivative_check,
        control=partial(_omega_derivative_check, factor=-1),
        control_statement=r"the same with $\frac1{2-\omega} - \frac1\omega$.",
    ),
    claim(
        id="learning-to-relax/shift-derivative",
        source="Eq. (41), second form",
        statement=(
            r"$\partial_c\breve C_\omega = -\frac{2-\omega}{\omega}(\breve W^{-1} + AW^{-T}W^{-1}) + "
            r"\frac{2-\omega}{\omega^2}A(W^{-T}\breve W^{-1} + \breve W^{-1}W^{-1})$."
        ),
        kind=Identity,
        premises=(SPD, OMEGA),
        check=partial(_shift_derivative_check, printed=True),
        control=_shift_derivative_check,
        control_statement=r"the same without the factor $(2-\omega)/\omega$ before each $\breve W^{-1}$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/shift-derivative-repaired",
        source="ours, repairs Eq. (41)",
        statement=(
            r"$\partial_c\breve C_\omega = -\breve W^{-1} - \frac{2-\omega}{\omega}AW^{-T}W^{-1} + "
            r"\frac1\omega A(W^{-T}\breve W^{-1} + \breve W^{-1}W^{-1})$."
        ),
        kind=Identity,
        premises=(SPD, OMEGA),
        check=_shift_derivative_check,
        control=partial(_shift_derivative_check, printed=True),
        control_statement=r"the same with a factor $(2-\omega)/\omega$ before each $\breve W^{-1}$.",
    ),
    claim(
        id="learning-to-relax/residual-lipschitz-in-omega",
        source="Lemma F.1",
        statement=(
            r"$\|\breve C_\omega^kb\|_2$ is $\rho^{k-1}\|b\|_2k\sqrt\kappa(\frac{1}{2-\omega_{\max}} + "
            r"2\rho(DA^{-1}))$-Lipschitz in $\omega \in [1, \omega_{\max}]$."
        ),
        kind=Inequality,
        premises=(SPD, "tested on the derivative at every point"),
        check=partial(_slope_check, measure=_by_omega),
        control=partial(_slope_check, measure=_by_omega, share=0.05),
        control_statement="the same with a twentieth of the constant.",
    ),
    claim(
        id="learning-to-relax/residual-lipschitz-in-shift",
        source="Lemma F.2",
        statement=(
            r"$\|\breve C_\omega(c)^kb\|_2$ is "
            r"$\frac{10}{\lambda_{\min}(A)+c_{\min}}\rho^{k-1}\|b\|_2k\sqrt{\kappa(A)}$-Lipschitz in $c \ge c_{\min}$."
        ),
        kind=Inequality,
        premises=(SPD, r"$c_{\min} > -\lambda_{\min}(A)$", "tested on the derivative at every point"),
        check=partial(_slope_check, measure=partial(_by_shift, repaired=False)),
        control=partial(_slope_check, measure=partial(_by_shift, repaired=True)),
        control_statement=r"the same with $\kappa(A + cI)$ for $\kappa(A)$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/residual-lipschitz-in-shift-repaired",
        source="ours, repairs Lemma F.2 by its Eq. (40)",
        statement=(
            r"$\|\breve C_\omega(c)^kb\|_2$ changes with $c$ at a rate of at most "
            r"$\frac{10}{\lambda_{\min}(A)+c_{\min}}\rho^{k-1}\|b\|_2k\sqrt{\kappa(A + cI)}$."
        ),
        kind=Inequality,
        premises=(SPD, r"$c \ge c_{\min} > -\lambda_{\min}(A)$"),
        check=partial(_slope_check, measure=partial(_by_shift, repaired=True)),
        control=partial(_slope_check, measure=partial(_by_shift, repaired=True), share=0.01),
        control_statement="the same with a hundredth of the constant.",
    ),
    claim(
        id="learning-to-relax/anti-concentration-rank-one",
        source="Lemma F.3",
        statement=(
            r"For $b$ standard normal given $\|b\|_2 \le \sqrt n$, "
            r"$\Pr(\|Xb\|_2 \in (\varepsilon, \varepsilon + \Delta]) \le \frac{2\Delta}{\rho(X)}\sqrt{2/\pi}$."
        ),
        kind=Inequality,
        premises=("$X$ a projection on one direction, for which the probability is known exactly",),
        check=_rank_one_check,
        control=partial(_rank_one_check, share=0.5),
        control_statement="the same without the factor 2.",
    ),
    claim(
        id="learning-to-relax/anti-concentration",
        source="Lemma F.3",
        statement=r"The same for an $X$ of full rank, close to rank one, by simulation.",
        kind=Probability,
        premises=(r"$X = \mathrm{diag}(1, 0.02, 0.01)$, $\varepsilon = 0.001$, $\Delta = 0.05$",),
        check=_ellipsoid,
        control=partial(_ellipsoid, share=0.5),
        control_statement="the same without the factor 2.",
    ),
)
