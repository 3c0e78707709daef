"""Groups (Section 2, Appendix C): those without signal, the variance of centred rewards, expected gradients."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import product
from math import sqrt

import numpy as np
import sympy as sp

from claimlab.checks import Array
from claimlab.experiments.papers.spo.common import BERNOULLI, SOFTMAX, choose, claim, exactly
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Outcome
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Simplex, Space


def _waiting_check(budget: Budget, offset: int = 1) -> Identity:
    """The series of the number of draws until both outcomes were seen, summed by sympy."""
    p, x = sp.symbols("p x", positive=True)
    k = sp.symbols("k", integer=True, positive=True)
    # P(N = k) = p^(k-1) (1-p) + (1-p)^(k-1) p for k >= 2; the series is summed where it converges, 0 < x < 1
    series = sp.Piecewise(*sp.summation(k * x**k, (k, 1, sp.oo)).args).args[0].args[0] / x - 1
    expected = series.subs(x, p) * (1 - p) + series.subs(x, 1 - p) * p
    residual = sp.simplify(expected - (1 / (p * (1 - p)) - offset))
    return Identity(float(residual != 0), 0.0, 1, "sympy", {"residual": str(residual)})


def _degenerate(p: Array, G: Array, *, draws: int) -> Trial:
    """Groups without signal: all rewards equal, by enumeration in rationals."""
    q, size = exactly(p), int(G)
    total = Fraction(0)
    for rewards in product((0, 1), repeat=size):
        if len(set(rewards)) == 1:
            total += q ** sum(rewards) * (1 - q) ** (size - sum(rewards))
    power = size + draws
    return Trial(float(abs(total - q**power - (1 - q) ** power)), 0.0)


def _degenerate_check(budget: Budget, draws: int = 0) -> Identity:
    space = Space({}, {"p": Box("", 0, 1), "G": Box("", 2, 8, step=1)})
    measure = partial(_degenerate, draws=draws)
    return equate(space, measure, budget.with_instances(min(budget.instances, 300)), proof="rational")


# Appendix C: the variance of rewards less a baseline


def _inflation(p: Array, G: Array, *, baseline: str, factor: str) -> Trial:
    """The variance of r - b over that of r - p, enumerated: b the mean of the own group, of the others, or
    another's."""
    q, size = exactly(p), int(G)
    others = {"own": size - 1, "others": size - 1, "independent": size}[baseline]
    mean = square = Fraction(0)
    for r in (0, 1):
        for successes in range(others + 1):
            ways = Fraction(choose(others, successes))
            weight = (q if r else 1 - q) * ways * q**successes * (1 - q) ** (others - successes)
            b = Fraction(successes + r, size) if baseline == "own" else Fraction(successes, others)
            mean, square = mean + weight * (r - b), square + weight * (r - b) ** 2
    change = {"1+1/G": Fraction(1, size), "1-1/G": Fraction(-1, size), "1+1/(G-1)": Fraction(1, max(size - 1, 1))}
    return Trial(float(abs(square - mean * mean - q * (1 - q) * (1 + change[factor]))), 0.0)


def _inflation_check(budget: Budget, baseline: str, factor: str) -> Identity:
    space = Space({}, {"p": Box("", 0, 1), "G": Box("", 2, 16, step=1)})
    measure = partial(_inflation, baseline=baseline, factor=factor)
    return equate(space, measure, budget.with_instances(min(budget.instances, 300)), proof="rational")


# Expected gradients, over all groups of G answers


def group_gradient(pi: Array, r: Array, G: int, signal: str) -> Array:
    """E of (1/G) sum_i A_i score_i over all K^G groups; float[K] in the logits."""
    K, total = len(pi), np.zeros(len(pi))
    for answers in product(range(K), repeat=G):
        a = np.array(answers)
        rewards, weight = r[a], pi[a].prod()
        centred = rewards - rewards.mean()
        if signal == "rloo":
            centred = centred * G / (G - 1)
        elif signal == "std":
            centred = centred / rewards.std() if rewards.std() > 0 else 0 * centred
        elif signal == "fixed":
            centred = rewards - r.min()
        total += weight * (centred[:, None] * (np.eye(K)[a] - pi)).mean(axis=0)
    return total


def _factor(signal: str, p: float, G: int) -> float:
    """What the expected gradient is of that of p: for the std of binary rewards, a mean over the binomial law."""
    if signal == "mean":
        return 1 - 1 / G
    if signal == "std":
        law = [choose(G, k) * p**k * (1 - p) ** (G - k) for k in range(G + 1)]
        return sum(w * sqrt(k * (G - k)) for k, w in enumerate(law)) / (G * p * (1 - p)) if 0 < p < 1 else 0.0
    return 1.0


def _expected(pi: Array, r: Array, G: Array, *, signal: str, stated: str) -> Trial | None:
    size, p = int(G), float((pi * r).sum())
    if p < 1e-3 or p > 1 - 1e-3:
        return None
    gradient = pi * (r - p)
    residual = group_gradient(pi, r, size, signal) - _factor(stated, p, size) * gradient
    return Trial(abs(residual).max(), 512 * len(pi) ** size * EPS)


def _expected_check(budget: Budget, signal: str, stated: str) -> Identity:
    space = Space({"K": (1, 3)}, {"pi": Simplex("K"), "r": Box("K", 0, 1, step=1), "G": Box("", 2, 5, step=1)})
    measure = partial(_expected, signal=signal, stated=stated)
    return equate(space, measure, budget.with_instances(min(budget.instances, 200)))


CLAIMS = (
    claim(
        id="spo/draws-until-signal",
        source="Appendix C",
        statement=r"On average $\frac{1}{p(1-p)}-1$ answers are drawn until both outcomes were seen.",
        kind=Identity,
        premises=(BERNOULLI, "$0<p<1$"),
        check=_waiting_check,
        control=partial(_waiting_check, offset=0),
        control_statement=r"on average $\frac{1}{p(1-p)}$.",
    ),
    claim(
        id="spo/degenerate-groups",
        source="Appendix C",
        statement=r"A group of $G$ answers has no signal with probability $p^G+(1-p)^G$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=_degenerate_check,
        control=partial(_degenerate_check, draws=1),
        control_statement=r"the same with $G+1$.",
    ),
    claim(
        id="spo/group-mean-variance",
        source="Appendix C",
        statement=r"The mean of the group as baseline inflates the variance: "
        r"$\mathrm{Var}(r-\mu_G)=(1+\frac1G)p(1-p)$.",
        kind=Identity,
        premises=(BERNOULLI, r"$\mu_G$ is the mean of the answer's own group, as in GRPO"),
        check=partial(_inflation_check, baseline="own", factor="1+1/G"),
        control=partial(_inflation_check, baseline="independent", factor="1+1/G"),
        control_statement=r"the same for the mean of $G$ other answers.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/group-mean-variance-corrected",
        source="ours, corrects Appendix C",
        statement=r"It deflates it: $\mathrm{Var}(r-\mu_G)=(1-\frac1G)p(1-p)$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=partial(_inflation_check, baseline="own", factor="1-1/G"),
        control=partial(_inflation_check, baseline="own", factor="1+1/G"),
        control_statement=r"$\mathrm{Var}(r-\mu_G)=(1+\frac1G)p(1-p)$.",
    ),
    claim(
        id="spo/leave-one-out-variance",
        source="ours, beside Appendix C",
        statement=r"With the mean of the others as baseline (RLOO) it is $(1+\frac1{G-1})p(1-p)$.",
        kind=Identity,
        premises=(BERNOULLI,),
        check=partial(_inflation_check, baseline="others", factor="1+1/(G-1)"),
        control=partial(_inflation_check, baseline="others", factor="1+1/G"),
        control_statement=r"it is $(1+\frac1G)p(1-p)$.",
    ),
    claim(
        id="spo/group-mean-shrinks",
        source="ours, on Section 2 (GRPO without the standard deviation)",
        statement=r"The expected gradient of a group with its own mean is $(1-\frac1G)\nabla p$.",
        kind=Identity,
        premises=(SOFTMAX, BERNOULLI),
        check=partial(_expected_check, signal="mean", stated="mean"),
        control=partial(_expected_check, signal="mean", stated="rloo"),
        control_statement=r"it is $\nabla p$.",
    ),
    claim(
        id="spo/leave-one-out-is-unbiased",
        source="ours, on Section 2 (RLOO)",
        statement=r"The expected gradient of a group with the mean of the others is $\nabla p$.",
        kind=Identity,
        premises=(SOFTMAX, BERNOULLI),
        check=partial(_expected_check, signal="rloo", stated="rloo"),
        control=partial(_expected_check, signal="rloo", stated="mean"),
        control_statement=r"it is $(1-\frac1G)\nabla p$.",
    ),
    claim(
        id="spo/standard-deviation",
        source="ours, on Section 2 (GRPO)",
        statement=r"With rewards centred and divided by the group's standard deviation the expected gradient is "
        r"$\frac{E\sqrt{k(G-k)}}{G\,p(1-p)}\nabla p$, $k\sim\mathrm{Bin}(G,p)$.",
        kind=Identity,
        premises=(SOFTMAX, BERNOULLI, "population standard deviation; a group without signal contributes nothing"),
        check=partial(_expected_check, signal="std", stated="std"),
        control=partial(_expected_check, signal="std", stated="mean"),
        control_statement=r"it is $(1-\frac1G)\nabla p$.",
    ),
    claim(
        id="spo/fixed-baseline-is-unbiased",
        source="Section 3",
        statement=r"A baseline that does not depend on the answers leaves the policy gradient unbiased.",
        kind=Identity,
        premises=(SOFTMAX,),
        check=partial(_expected_check, signal="fixed", stated="rloo"),
        control=partial(_expected_check, signal="mean", stated="rloo"),
        control_statement="the mean of the own group does too.",
    ),
)
