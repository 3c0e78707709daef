"""What ChebCB rests on: rounding to a grid, Chebyshev series of Lipschitz functions, inverse gap weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from claimlab.bandits.interval_contextual import normalisation, truncation
from claimlab.bandits.linear_contextual import inverse_gap_weights
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.spaces import Box, Case, Space

EPS = float(np.finfo(np.float64).eps)

# Theorem B.3: rounding towards z --------------------------------------------------------------------------------------

STEPS = Space({"N": (2, 24)}, {"slopes": Box("N", -30, 1), "d": Box("", 1, 12, step=1)})


def towards_z(d: int) -> Array:
    """a + (b - a) i / d on [0, 1]: the right end, which is z, belongs to the grid."""
    return np.asarray(np.arange(1, d + 1) / d)


def without_z(d: int) -> Array:
    return np.asarray(np.arange(d) / d)


def _rounding(slopes: Array, d: Array, *, grid: Callable[[int], Array]) -> Trial:
    """min over the grid - min over [0, 1], of a function with the given slopes on equal parts, against L / d.

    With z = 1, (L, z)-semi-Lipschitz means: no slope exceeds L, falls may be as steep as they like.  Here L is 1.
    """
    knots = np.linspace(0, 1, len(slopes) + 1)
    values = np.r_[0.0, np.cumsum(slopes) / len(slopes)]
    on_grid = np.interp(grid(int(d)), knots, values).min()
    size = 1 + abs(slopes).max()
    return Trial(
        float(on_grid - values.min()), 1 / float(d), 8 * len(slopes) * EPS * size, trivial=float(np.ptp(values))
    )


def _rounding_check(budget: Budget, grid: Callable[[int], Array] = towards_z) -> Inequality:
    valley: list[Case] = [
        {"slopes": np.r_[np.full(k, -30.0), np.ones(24 - k)], "d": np.array(float(n))}
        for k in (1, 5, 13)
        for n in (2, 5)
    ]
    return attack(STEPS, partial(_rounding, grid=grid), budget, hard=valley)


# Theorem C.1: Chebyshev series ----------------------------------------------------------------------------------------

CURVES = Space({"N": (1, 12)}, {"slopes": Box("N", -1, 1), "m": Box("", 1, 20, step=1)})
ANGLES = np.linspace(0, np.pi, 401)


def chebyshev_series(slopes: Array, degree: int) -> Array:
    r"""Coefficients up to `degree` of the function of [-1, 1] with the given slopes on equal parts and value 0 at -1.

    :math:`\theta_j = \frac{2}{\pi j}\int_0^\pi f'(\cos\phi)\sin\phi\sin j\phi\,d\phi`, by parts, piece by piece in
    closed form; :math:`\theta_0` is the mean over the angle.
    """
    knots = np.linspace(-1, 1, len(slopes) + 1)
    phi = np.arccos(knots)
    j = np.arange(1, degree + 1)[:, None]

    def primitive(angle: Array) -> Array:  # of 2 sin(phi) sin(j phi) = cos((j-1) phi) - cos((j+1) phi)
        low = np.where(j > 1, np.sin((j - 1) * angle) / np.maximum(j - 1, 1), angle)
        return np.asarray(low - np.sin((j + 1) * angle) / (j + 1))

    at = primitive(phi[None])
    theta = ((at[:, :-1] - at[:, 1:]) @ slopes) / (np.pi * j[:, 0])
    intercepts = np.r_[0.0, np.cumsum(slopes * np.diff(knots))][:-1] - slopes * knots[:-1]
    mean = (intercepts * -np.diff(phi) - slopes * np.diff(np.sin(phi))).sum() / np.pi
    return np.r_[mean, theta]


def curve(slopes: Array, x: Array) -> Array:
    knots = np.linspace(-1, 1, len(slopes) + 1)
    return np.interp(x, knots, np.r_[0.0, np.cumsum(slopes * np.diff(knots))])


def _truncation(slopes: Array, m: Array, *, factor: float) -> Trial:
    """Largest error of the series on a grid of 401 angles, which is at most the true one."""
    degree, x = int(m), np.cos(ANGLES)
    series = np.cos(np.outer(ANGLES, np.arange(degree + 1))) @ chebyshev_series(slopes, degree)
    error = float(abs(series - curve(slopes, x)).max())
    return Trial(error, factor * truncation(2.0, degree), 100 * degree * len(slopes) * EPS, trivial=2.0)


def _truncation_check(budget: Budget, factor: float = 1.0) -> Inequality:
    kinks: list[Case] = [{"slopes": np.array([-1.0, 1.0]), "m": np.array(float(m))} for m in (1, 2, 3, 5, 20)]
    return attack(CURVES, partial(_truncation, factor=factor), budget, hard=kinks)


def _coefficients(slopes: Array, m: Array, *, constant: float) -> Trial:
    """The largest j |theta_j| against `constant` times L = 1."""
    theta = chebyshev_series(slopes, int(m))
    return Trial(float((np.arange(len(theta)) * abs(theta)).max()), constant, 100 * float(m) * len(slopes) * EPS)


def _coefficients_check(budget: Budget, constant: float = 2.0) -> Inequality:
    line: list[Case] = [{"slopes": np.ones(1), "m": np.array(float(m))} for m in (1, 2, 20)]
    return attack(CURVES, partial(_coefficients, constant=constant), budget, hard=line)


PREDICTIONS = Space({"M": (2, 21)}, {"share": Box("M"), "x": Box(""), "slope": Box("", 0, 50)})


def _prediction(share: Array, x: Array, slope: Array, *, weight: float) -> Trial:
    """|<theta, f(c)>| for a theta that is the given `share` of the box, against 1/2."""
    degree = len(share) - 1
    j = np.arange(1, degree + 1)
    N = 2 + weight / 4 * (normalisation(float(slope), degree) - 2)
    radius = np.r_[1, 2 * float(slope) / j] / N
    features = np.cos(np.arange(degree + 1) * np.arccos(float(x)))
    return Trial(abs(float(share * radius @ features)), 0.5, 4 * degree * EPS)


def _prediction_check(budget: Budget, weight: float = 4.0) -> Inequality:
    ends: list[Case] = [
        {"share": np.ones(m + 1), "x": np.array(1.0), "slope": np.array(s)} for m in (1, 2, 20) for s in (1.0, 50.0)
    ]
    return attack(PREDICTIONS, partial(_prediction, weight=weight), budget, hard=ends)


# Algorithm 3: probabilities -------------------------------------------------------------------------------------------

PREDICTED = Space({"K": (1, 8)}, {"loss": Box("K", -0.5, 0.5), "log_eta": Box("", -2, 8)})


def ours(loss: Array, eta: float) -> Array:
    p = np.empty(loss.size)
    inverse_gap_weights(loss, eta, p)
    return p


def without_arms(loss: Array, eta: float) -> Array:
    """1 / (1 + eta gap) in place of 1 / (d + eta gap)."""
    p = 1 / (1 + eta * (loss - loss.min()))
    p[loss.argmin()] += 1 - p.sum()
    return np.asarray(p)


def _probabilities(loss: Array, log_eta: Array, *, weights: Callable[[Array, float], Array]) -> Trial:
    """1/d against the probability of the best arm; infinite where the sum is off 1 or a weight is negative."""
    p, d = weights(loss, 10 ** float(log_eta)), loss.size
    broken = abs(p.sum() - 1) > 4 * d * EPS or p.min() < 0
    return Trial(np.inf if broken else 1 / d, float(p[loss.argmin()]), 4 * d * EPS, trivial=1.0)


def _probabilities_check(budget: Budget, weights: Callable[[Array, float], Array] = ours) -> Inequality:
    return attack(PREDICTED, partial(_probabilities, weights=weights), budget)


CLAIMS = (
    claim(
        id="learning-to-relax/semi-lipschitz-rounding",
        source="Theorem B.3, step in the proof",
        statement=(
            r"If $f$ is $(L, z)$-semi-Lipschitz on $[a, b]$ with $z = b$, the grid $a + (b-a)\frac id$, $i = 1..d$, "
            r"holds a point with $f \le \min f + L\frac{b-a}d$: rounding goes towards $z$, which the grid contains."
        ),
        kind=Inequality,
        premises=(r"$f(x) - f(y) \le L|x - y|$ whenever $|x - z| \le |y - z|$; attacked with piecewise linear $f$",),
        check=_rounding_check,
        control=partial(_rounding_check, grid=without_z),
        control_statement=r"the same for the grid $a + (b-a)\frac{i-1}d$, which holds $a$ and not $z$.",
    ),
    claim(
        id="learning-to-relax/chebyshev-truncation",
        source="Theorem C.1",
        statement=(
            r"The Chebyshev series of an $L$-Lipschitz function on $[-1, 1]$, cut after degree $m$, errs by at most "
            r"$\frac{\pi + (2/\pi)\log(2m+1)}{m+1}L$."
        ),
        kind=Inequality,
        premises=(r"$m \ge 1$; attacked with piecewise linear functions, whose series is known in closed form",),
        check=_truncation_check,
        control=partial(_truncation_check, factor=0.25),
        control_statement="a quarter of it is enough.",
    ),
    claim(
        id="learning-to-relax/chebyshev-coefficients",
        source="Theorem C.1",
        statement=r"The coefficients of an $L$-Lipschitz function on $[-1, 1]$ satisfy $|\theta_j| \le 2L/j$.",
        kind=Inequality,
        premises=(r"$j \ge 1$",),
        check=_coefficients_check,
        control=partial(_coefficients_check, constant=0.99),
        control_statement=r"$|\theta_j| \le 0.99\,L/j$.",
    ),
    claim(
        id="learning-to-relax/chebyshev-coefficients-sharp",
        source="ours, sharpens Theorem C.1",
        statement=(
            r"$|\theta_j| \le L/j$, attained by $f(x) = x$: $|\theta_j| \le \frac{2L}{\pi j}\int_0^\pi \sin\phi\,|\sin "
            r"j\phi|\,d\phi \le \frac{2L}{\pi j}\cdot\frac\pi2$ by Cauchy and Schwarz. The box of Algorithm 7 may be "
            "half as wide."
        ),
        kind=Inequality,
        premises=(r"$j \ge 1$",),
        check=partial(_coefficients_check, constant=1.0),
        control=partial(_coefficients_check, constant=0.99),
        control_statement=r"$|\theta_j| \le 0.99\,L/j$.",
    ),
    claim(
        id="learning-to-relax/prediction-range",
        source="Algorithm 7",
        statement=(
            r"With $N = 2 + \frac{4CL}K(1 + \log m)$ every $\theta$ in the box $|\theta_0| \le \frac1N$, "
            r"$|\theta_j| \le \frac{2CL}{KNj}$ predicts within $[-\frac12, \frac12]$."
        ),
        kind=Inequality,
        premises=(r"$m \ge 1$, contexts in the interval",),
        check=_prediction_check,
        control=partial(_prediction_check, weight=3.5),
        control_statement=r"$3.5$ in place of $4$.",
    ),
    claim(
        id="learning-to-relax/chebcb-probabilities",
        source="Algorithms 3 and 6",
        statement=(
            r"$p_i = 1/(d + \eta(s_i - s_{i^*}))$ for $i \ne i^*$ and the rest for $i^*$ is a distribution with "
            r"$p_{i^*} \ge \frac1d$."
        ),
        kind=Inequality,
        premises=(r"$\eta \ge 0$; ties included",),
        check=_probabilities_check,
        control=partial(_probabilities_check, weights=without_arms),
        control_statement=r"the same with $1/(1 + \eta(s_i - s_{i^*}))$.",
    ),
)
