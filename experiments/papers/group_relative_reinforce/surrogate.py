"""The surrogate of pairwise consistency: its gradient is group-relative REINFORCE, whatever law the answers are of."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np
import sympy

from claimlab.checks import Array, Ints
from claimlab.experiments.papers.group_relative_reinforce.common import BANDIT, GROUP, STEP, claim, full, log_softmax
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Outcome
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Simplex, Space

GROUPS = Space(
    {"Y": (1, 4), "K": (2, 5)},
    {
        "x": Box("Y", -2, 2),
        "r": Box("K", 0, 1),
        "pick": Box("K", 0, 0.999),
        "w": Box("K", 0.1, 2),
        "tau": Box("", 0.05, 3),
    },
)


def _scores(x: Array, y: Ints) -> Array:
    return np.eye(len(x))[y] - np.exp(log_softmax(x))


def _surrogate(x: Array, r: Array, pick: Array, w: Array, tau: Array, *, weighted: bool, factor: float) -> Trial:
    """The gradient of the surrogate at the current policy against factor tau times (weighted) REINFORCE."""
    y, weight = (pick * len(x)).astype(int), w if weighted else np.ones(len(r))
    old, t, K = log_softmax(x)[y], float(tau), len(r)

    def loss(theta: Any) -> Any:
        a = r - t * (log_softmax(theta)[y] - old)
        gaps = np.subtract.outer(a, a) ** 2 * np.multiply.outer(weight, weight)
        return gaps.sum() / 2 / K**2

    gradient = np.array([loss(x + 1j * STEP * e).imag / STEP for e in np.eye(len(x))])
    mean = weight @ r / weight.sum()
    stated = -factor * t * weight.sum() / K**2 * ((weight * (r - mean)) @ _scores(x, y))
    return Trial(float(abs(gradient - stated).max()), 4096 * EPS * (1 + t))


def _surrogate_check(budget: Budget, weighted: bool = False, factor: float = 2.0) -> Identity:
    return equate(GROUPS, partial(_surrogate, weighted=weighted, factor=factor), budget)


def _pairs_check(budget: Budget, factor: int = 2) -> Identity:
    """Symbolically, for groups of two to five: derivatives in the log-probabilities, which may be any functions."""
    wrong, compared = 0, 0
    tau = sympy.Symbol("tau")
    for K in range(2, 6):
        r, log_ratio = sympy.symbols(f"r:{K}"), sympy.symbols(f"l:{K}")
        w = {(i, j): sympy.Symbol(f"w{i}{j}") for i, j in combinations(range(K), 2)}
        a = [x - tau * y for x, y in zip(r, log_ratio)]
        loss = sum(w[i, j] * (a[i] - a[j]) ** 2 for i, j in w)
        for i in range(K):
            found = sympy.diff(loss, log_ratio[i]).subs(dict.fromkeys(log_ratio, 0))
            pull = sum(w[min(i, j), max(i, j)] * (r[i] - r[j]) for j in range(K) if j != i)
            wrong += sympy.expand(found + factor * tau * pull) != 0
            compared += 1
    return Identity(float(wrong), 0.0, compared, "sympy")


def _consistent(start: Array, law: Array, r: Array, tau: Array, *, steps: int, cut: bool) -> Trial | None:
    """The loss in the population of the KL optimum, minimal (zero) for any law; or after `steps` REINFORCE steps."""
    t, base = float(tau), full(start, 0.02)
    data = law * (np.arange(len(law)) > 0) if cut else full(law, 0.02)
    if data.sum() < 1e-6:
        return None
    data = data / data.sum()
    optimum = base * np.exp((r - r.max()) / t)
    optimum /= optimum.sum()
    if steps:
        reached = np.log(base) + steps * data * (r - data @ r) / t
        reached = np.exp(reached - reached.max())
        return Trial(float(abs(reached / reached.sum() - optimum).max()), 64 * EPS)
    # the minimiser by least squares on the pairs' differences, weighted by the law of the data
    seen = np.flatnonzero(data > 0)
    if len(seen) < 2:
        return None
    pairs = [(i, j) for i in seen for j in seen if i < j]
    design = np.array([np.eye(len(r))[i] - np.eye(len(r))[j] for i, j in pairs])
    ratio = np.linalg.lstsq(design, np.array([r[i] - r[j] for i, j in pairs]) / t, rcond=None)[0]
    found = base * np.exp(ratio - ratio.max())
    return Trial(float(abs(found / found.sum() - optimum).max()), 1e-9)


BANDITS = Space(
    {"Y": (2, 4)}, {"start": Simplex("Y"), "law": Simplex("Y"), "r": Box("Y", 0, 1), "tau": Box("", 0.1, 3)}
)


def _consistent_check(budget: Budget, steps: int = 0, cut: bool = False) -> Identity:
    return equate(BANDITS, partial(_consistent, steps=steps, cut=cut), budget)


def _finite(p: Array, r: Array, K: Array, *, biased: bool) -> Trial:
    """E of the group-relative gradient over all groups, in rationals, against (K - 1) / K times the covariance."""
    law = [Fraction(float(v)).limit_denominator(1000) for v in p]
    law = [v / sum(law) for v in law]
    gain, size = [Fraction(float(v)).limit_denominator(1000) for v in r], int(K)
    found = [Fraction(0)] * len(law)
    for group in product(range(len(law)), repeat=size):
        chance = Fraction(1)
        for y in group:
            chance *= law[y]
        mean = sum((gain[y] for y in group), Fraction(0)) / size
        for y in group:  # the score's part e_y: the other part is the same for all and cancels
            found[y] += chance * (gain[y] - mean) / size
    value = sum((v * g for v, g in zip(law, gain)), Fraction(0))
    shrink = Fraction(1) if biased else Fraction(size - 1, size)
    return Trial(float(max(abs(f - shrink * v * (g - value)) for f, v, g in zip(found, law, gain))), 0.0)


def _finite_check(budget: Budget, biased: bool = False) -> Identity:
    space = Space({"Y": (1, 3)}, {"p": Simplex("Y"), "r": Box("Y", 0, 1), "K": Box("", 2, 4, step=1)})
    measure = partial(_finite, biased=biased)
    return equate(space, measure, budget.with_instances(min(budget.instances, 200)), proof="rational")


def normalised_direction(law: Array, r: Array, K: int, eps: float = 1e-6) -> Array:
    """The expected sum over a group of K answers of GRPO's advantages, by the answers' kinds, float[Y]: advantages over
    the group's unbiased standard deviation plus `eps`."""
    found = np.zeros(len(law))
    for group in product(range(len(law)), repeat=K):
        y = list(group)
        A = (r[y] - r[y].mean()) / (r[y].std(ddof=1) + eps)
        np.add.at(found, y, law[y].prod() * A)
    return found


def _normalised(p: Array, r: Array, K: Array) -> Trial | None:
    """How far apart the unit vectors of GRPO's expected direction and of the policy gradient are."""
    law = p / p.sum()
    found, stated = normalised_direction(law, r, int(K)), law * (r - law @ r)
    if np.ptp(r) < 0.05:
        return None
    return Trial(float(abs(found / np.linalg.norm(found) - stated / np.linalg.norm(stated)).max()), 1e-9)


def _normalised_check(budget: Budget, answers: int = 3) -> Identity:
    fields = {"p": Box("Y", 1, 9, step=1), "r": Box("Y", 0, 1), "K": Box("", 2, 4, step=1)}
    space = Space({"Y": (answers, answers)}, fields)
    pair = {"p": np.ones(answers), "r": np.array([0.0, 0.1, 1.0])[-answers:], "K": np.array(2.0)}
    return equate(space, _normalised, budget.with_instances(min(budget.instances, 200)), hard=[pair])


CLAIMS = (
    claim(
        id="group-relative-reinforce/one-step",
        source="Section 2 (third step)",
        statement=r"At $\theta=\theta_t$ the gradient of $\frac1{K^2}\sum_{i<j}(a_i-a_j)^2$ is "
        r"$-\frac{2\tau}{K}\sum_i(r_i-\bar r)\nabla\log\pi_\theta(y_i)$, without an assumption on where the answers "
        r"came from.",
        kind=Identity,
        premises=(BANDIT, GROUP),
        check=_surrogate_check,
        control=partial(_surrogate_check, factor=1.0),
        control_statement=r"it is $-\frac{\tau}{K}\sum_i(r_i-\bar r)\nabla\log\pi_\theta(y_i)$.",
    ),
    claim(
        id="group-relative-reinforce/one-step-weighted",
        source="Section 3 (weighted pairs)",
        statement=r"With weights $w_iw_j$ of the pairs it is REINFORCE with weights $w_i$ and the weighted mean.",
        kind=Identity,
        premises=(BANDIT, GROUP, "positive weights"),
        check=partial(_surrogate_check, weighted=True),
        control=partial(_surrogate_check, weighted=True, factor=1.9),
        control_statement="the same with 1.9 for the factor 2.",
    ),
    claim(
        id="group-relative-reinforce/one-step-any-pairs",
        source="Section 3 (weighted pairs); any symmetric weights ours",
        statement=r"With any weights $w_{ij}=w_{ji}$ the gradient of $\sum_{i<j}w_{ij}(a_i-a_j)^2$ is "
        r"$-2\tau\sum_i\sum_jw_{ij}(r_i-r_j)\nabla\log\pi_\theta(y_i)$, for policies of any kind.",
        kind=Identity,
        premises=("groups of two to five answers, symbolically",),
        check=_pairs_check,
        control=partial(_pairs_check, factor=1),
        control_statement=r"the same with $\tau$ for $2\tau$.",
    ),
    claim(
        id="group-relative-reinforce/any-law",
        source="Section 2 (pairwise consistency)",
        statement=r"Minimising the surrogate whole gives the KL-regularised optimum from data of any law with full "
        r"support.",
        kind=Identity,
        premises=(BANDIT, "full support", "exact expectations"),
        check=_consistent_check,
        control=partial(_consistent_check, cut=True),
        control_statement="the same from data that never show the first answer.",
    ),
    claim(
        id="group-relative-reinforce/one-step-is-no-optimum",
        source="ours, on Section 2",
        statement="So does a single step of the matched size.",
        kind=Identity,
        premises=(BANDIT, "full support", "exact expectations"),
        check=partial(_consistent_check, steps=1),
        control=_consistent_check,
        control_statement="minimising the surrogate whole does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/finite-groups",
        source="ours, on Eq. 1 (groups of K)",
        statement=r"The expected gradient of a group is $\frac{K-1}{K}\mathrm{Cov}_{\pi_b}(r,\nabla\log\pi)$.",
        kind=Identity,
        premises=(BANDIT, "K independent answers from $\\pi_b$"),
        check=_finite_check,
        control=partial(_finite_check, biased=True),
        control_statement=r"it is the covariance.",
    ),
    claim(
        id="group-relative-reinforce/normalised-groups",
        source="ours, on GRPO's advantages (over the group's standard deviation), as if that only changed the step",
        statement="Dividing the advantages by the group's standard deviation keeps the direction of the expected "
        "gradient.",
        kind=Identity,
        premises=("softmax policies on three answers", r"K from 2 to 4 independent answers from $\pi_b$"),
        check=_normalised_check,
        control=partial(_normalised_check, answers=2),
        control_statement="with two answers it does.",
        expected=Outcome.REFUTED,
    ),
)
