r"""Lemma 2.1: the shape of the surrogate `U`, which is what makes the parameter learnable."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.bandits.relaxation.spectral import optimal_omega
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import EPS, OMEGA, ORDERED, SPD, claim, many
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Rate, rate
from claimlab.theory.falsify import Box, Case, Space, Trials, attack
from claimlab.theory.relaxation import sor_surrogate, sor_surrogate_cap, sor_surrogate_lipschitz, steep_enough

TAU = r"$\tau \in (0, 1)$ from Assumption 2.1"

UNIT = Box("", 0.0, 1.0)
SHAPES = Space(
    {},
    {"beta": Box("", 0.0, 0.999), "tau": Box("", 0.001, 0.999), "top": Box("", 1.01, 1.99)}
    | {"digits": Box("", 1, 12), "u": UNIT, "v": UNIT},
)


def _rounding(value: Array, tau: Array) -> Array:
    r"""A bound on the rounding of `U`, whose logarithm is taken of a rate `r`, :math:`\tau \le r < 1`.

    The relative error is of order :math:`u/(1 - r)` where `r` is near 1, which `U` itself exceeds, else of order
    :math:`u/r`.
    """
    return np.asarray(64 * EPS * value * (value + 1 / tau))


def _cap(beta: Array, tau: Array, top: Array, digits: Array, u: Array, v: Array, *, low: float) -> Trials:
    value = sor_surrogate(low + (top - low) * u, beta, tau, 10.0**-digits)
    bound = sor_surrogate_cap(beta, tau, top, 10.0**-digits)
    return Trials(value, bound, _rounding(bound, tau))


def _cap_check(budget: Budget, low: float = 1.0) -> Inequality:
    return attack(SHAPES, partial(_cap, low=low), many(budget), batched=True)


def _monotone(beta: Array, tau: Array, top: Array, digits: Array, u: Array, v: Array, *, end: float) -> Trials:
    """Of two parameters below `end` times the best one, the larger costs no more."""
    limit = np.minimum(end * optimal_omega(beta), 1.99)
    small, large = limit * np.maximum(np.minimum(u, v), 0.01), limit * np.maximum(np.maximum(u, v), 0.01)
    value, bound = (sor_surrogate(omega, beta, tau, 10.0**-digits) for omega in (large, small))
    near_best = 8 * bound * EPS**0.5  # the square root of Young's formula near its zero
    return Trials(value, bound, _rounding(bound, tau) + near_best)


def _monotone_check(budget: Budget, end: float = 1.0) -> Inequality:
    return attack(SHAPES, partial(_monotone, end=end), many(budget), batched=True)


def _slope(beta: Array, tau: Array, top: Array, digits: Array, u: Array, v: Array, *, premise: bool) -> Trials:
    best, tol = optimal_omega(beta), 10.0**-digits
    first, second = (best + np.maximum(top - best, 0) * x for x in (u, v))
    values = [sor_surrogate(omega, beta, tau, tol) for omega in (first, second)]
    bound = sor_surrogate_lipschitz(beta, tau, top, tol) * abs(first - second)
    holds = (top > best) & np.logical_or(steep_enough(beta, tau), not premise)
    return Trials(abs(values[0] - values[1]), bound, 2 * _rounding(np.maximum(*values), tau), holds=holds)


def _slope_check(budget: Budget, premise: bool = True) -> Inequality:
    edge: Case = {"beta": np.array(0.0), "tau": np.array(np.exp(-2.0)), "top": np.array(1.99), "digits": np.array(8.0)}
    hard = [edge | {"u": np.array(0.999), "v": np.array(1.0)}]
    return attack(SHAPES, partial(_slope, premise=premise), many(budget), batched=True, hard=hard)


def _left(budget: Budget, exponent: float = 0.5) -> Rate:
    r"""How `U` rises a little to the left of the best parameter, :math:`U(\omega^* - h) - U(\omega^*)` against `h`."""
    rng, steps = budget.rng("instances"), np.geomspace(1e-7, 1e-4, 7)
    beta, tau = rng.uniform(0.5, 0.99, 40), rng.uniform(0.05, 0.5, 40)
    best = optimal_omega(beta)
    rise = [sor_surrogate(best - h, beta, tau, 1e-8) - sor_surrogate(best, beta, tau, 1e-8) for h in steps]
    return rate(steps, np.stack(rise, axis=1), exponent=exponent, side="at most", rng=budget.rng("bootstrap"))


CLAIMS = (
    claim(
        id="learning-to-relax/surrogate-cap",
        source="Lemma 2.1, item 1",
        statement=(
            r"$U(\omega) \le 1 + \log\varepsilon/\log\alpha$ on $[1, \omega_{\max}]$ for "
            r"$\alpha = \tau + (1 - \tau)\max\{\beta^2, \omega_{\max} - 1\}$."
        ),
        kind=Inequality,
        premises=(SPD, ORDERED, TAU),
        check=_cap_check,
        control=partial(_cap_check, low=0.9),
        control_statement=r"the same on $[0.9, \omega_{\max}]$.",
    ),
    claim(
        id="learning-to-relax/surrogate-decreases",
        source="Lemma 2.1, item 2",
        statement=r"$U$ is decreasing on $(0, \omega^*]$.",
        kind=Inequality,
        premises=(SPD, ORDERED, OMEGA, TAU),
        check=_monotone_check,
        control=partial(_monotone_check, end=1.02),
        control_statement=r"$U$ is decreasing on $(0, 1.02\,\omega^*]$.",
    ),
    claim(
        id="learning-to-relax/surrogate-lipschitz",
        source="Lemma 2.1, item 2",
        statement=(
            r"On $[\omega^*, \omega_{\max}]$, $U$ is Lipschitz with "
            r"$\frac{(1-\tau)\log(1/\varepsilon)}{\alpha\log^2\alpha}$."
        ),
        kind=Inequality,
        premises=(SPD, ORDERED, TAU, r"$\tau \ge e^{-2}$ or $\beta^2 \ge 4e^{-2}(1 - e^{-2})$"),
        check=_slope_check,
        control=partial(_slope_check, premise=False),
        control_statement=r"the same for all $\tau$ and $\beta$.",
    ),
    claim(
        id="learning-to-relax/surrogate-cliff",
        source="Section 2.3, on Lemma 2.1",
        statement=(
            r"Left of $\omega^*$, $U$ is not Lipschitz: $U(\omega^* - h) - U(\omega^*)$ falls no faster than $\sqrt h$ "
            r"as $h \to 0$."
        ),
        kind=Rate,
        premises=(SPD, ORDERED, TAU),
        check=_left,
        control=partial(_left, exponent=0.4),
        control_statement="it falls no faster than $h^{0.4}$.",
    ),
)
