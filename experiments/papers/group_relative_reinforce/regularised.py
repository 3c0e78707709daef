"""OPMD and AsymRE, REINFORCE with a regulariser; Trinity's OPMD, which has none."""

from __future__ import annotations

from functools import partial

import numpy as np
import sympy

from claimlab.checks import Array
from claimlab.experiments.papers.group_relative_reinforce.common import (
    BANDIT,
    FIXED,
    LAW,
    REWARD,
    STEP,
    THREE_ARMS,
    claim,
    flow,
    full,
    log_softmax,
)
from claimlab.experiments.papers.group_relative_reinforce.limits import FLOWS
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.group_relative import attractors, flow_limit, logit_direction, train
from claimlab.theory.spaces import Box, Simplex, Space

BANDITS = Space({"Y": (2, 4)}, {"law": Simplex("Y"), "r": Box("Y", 0, 1), "tau": Box("", 0.1, 3)})
WHOLE = Space(BANDITS.sizes, {**BANDITS.fields, "law": Box("Y", 1, 9, step=1)})  # laws as whole numbers, to be read


def soft_mean(law: Array, r: Array, tau: float) -> float:
    r""":math:`\tau\log E e^{r/\tau}`, between the mean and the largest reward."""
    return float(r.max() + tau * np.log(law @ np.exp((r - r.max()) / tau)))


# OPMD


def _square_check(budget: Budget, factor: int = 1) -> Identity:
    r"""Symbolically: the square :math:`(r-b-\tau x)^2/(2\tau)`, x the log-ratio, against its three terms."""
    r, b, x = sympy.symbols("r b x")
    tau = sympy.Symbol("tau", positive=True)
    terms = -(r - b) * x + factor * tau / 2 * x**2 + (r - b) ** 2 / (2 * tau)
    wrong = sympy.expand((r - b - tau * x) ** 2 / (2 * tau) - terms) != 0
    return Identity(float(wrong), 0.0, 1, "sympy")


def _stationary(law: Array, r: Array, tau: Array, *, soft: bool) -> Trial:
    """OPMD's direction at the KL-regularised optimum, from data of the reference itself."""
    b, t = law / law.sum(), float(tau)
    optimum = b * np.exp((r - r.max()) / t)
    optimum /= optimum.sum()
    baseline = soft_mean(b, r, t) if soft else b @ r
    g = r - baseline - t * np.log(optimum / b)
    return Trial(float(abs(logit_direction(b, optimum, g)).max()), 1024 * EPS * (1 + t))


def _stationary_check(budget: Budget, soft: bool = False) -> Identity:
    pair = {"law": np.array([1.0, 1.0]), "r": np.array([0.0, 1.0]), "tau": np.array(1.0)}
    return equate(WHOLE, partial(_stationary, soft=soft), budget, hard=[pair])


# AsymRE


def _imitation(law: Array, r: Array, start: Array, beta: Array, *, forward: bool) -> Trial:
    """AsymRE's direction less REINFORCE's against beta times minus the gradient of a divergence, by complex steps."""
    b, weight = full(law, 0.02), float(beta)
    p, A = np.exp(log_softmax(start)), r - b @ r
    found = logit_direction(b, p, A + weight) - logit_direction(b, p, A)

    def divergence(x: Array) -> complex:
        logs = log_softmax(x)
        return complex((b * (np.log(b) - logs)).sum() if forward else (np.exp(logs) * (logs - np.log(b))).sum())

    gradient = np.array([divergence(start + 1j * STEP * e).imag / STEP for e in np.eye(len(start))])
    return Trial(float(abs(found + weight * gradient).max()), 64 * EPS * (1 + weight))


def _imitation_check(budget: Budget, forward: bool = True) -> Identity:
    return equate(FLOWS, partial(_imitation, forward=forward), budget)


def _improves(law: Array, r: Array, start: Array, beta: Array, *, sign: float) -> Trial | None:
    """The value of the data's law against that of AsymRE's limit; `sign` -1 takes beta from the advantages."""
    data = full(law, 0.02)
    c = data * (sign * (r - data @ r) + float(beta))
    if c.sum() <= 1e-9:
        return None
    return Trial(float(data @ r), float(flow_limit(c) @ r), 1e-9)


def _improves_check(budget: Budget, sign: float = 1.0) -> Inequality:
    return attack(FLOWS, partial(_improves, sign=sign), budget.with_instances(10 * budget.instances))


# Trinity's OPMD


def _rescaled(law: Array, r: Array, tau: Array, *, soft: bool) -> Trial:
    """The policies of 50 steps, each longer by 1 + tau, against REINFORCE's."""
    b, t = full(law, 0.02), float(tau)
    shift = b @ r - soft_mean(b, r, t) if soft else 0.0
    found = train(b, r, lambda ratio, A: (A + shift) / (1 + t), size=1 + t, steps=50)
    return Trial(float(abs(found - train(b, r, lambda ratio, A: A, size=1.0, steps=50)).max()), 50 * 256 * EPS)


def _rescaled_check(budget: Budget, soft: bool = False) -> Identity:
    return equate(BANDITS, partial(_rescaled, soft=soft), budget.with_instances(min(budget.instances, 300)))


def near_vertex(a: int, answers: int, rest: float = 1e-3) -> Array:
    """Logits of a policy that gives `a` all but `rest`."""
    p = np.full(answers, rest / (answers - 1))
    p[a] = 1 - rest
    return np.log(p)


def _ends_check(budget: Budget, soft: bool = True) -> Identity:
    """On how many answers beyond one the three arms end, started near each."""
    c = LAW * (REWARD - (soft_mean(LAW, REWARD, 1.0) if soft else LAW @ REWARD)) / 2
    ends = [int(flow(c, near_vertex(a, 3), 50_000, 1.0).argmax()) + 1 for a in range(3)]
    witness = {"c": c, "sum of c": float(c.sum()), "ends on, from near each": ends}
    return Identity(float(len(set(ends)) - 1), 0.0, 3, "float", witness)


def _attracts(c: Array, low: Array, *, largest: bool) -> Trial | None:
    """On how many answers it is wrongly said whether training from next to them returns; the sum of c is negative."""
    weights = c - c.mean() - float(low) / len(c)
    gains = np.array([weights[a] - weights.sum() - np.delete(weights, a).max() for a in range(len(c))])
    top = np.sort(weights)
    if abs(gains).min() < 0.02 or top[-1] - top[-2] < 0.02:
        return None  # too slow to be seen
    stated = (
        np.eye(len(c), dtype=bool)[weights.argmax()] if largest else np.isin(np.arange(len(c)), attractors(weights))
    )
    returns = [flow(weights, near_vertex(a, len(c)), 4_000, 1.0)[a] > 0.5 for a in range(len(c))]
    return Trial(float((np.array(returns) != stated).sum()), 0.0)


def _attracts_check(budget: Budget, largest: bool = False) -> Identity:
    space = Space({"Y": (2, 4)}, {"c": Box("Y", -0.5, 0.5), "low": Box("", 0.05, 1)})
    return equate(space, partial(_attracts, largest=largest), budget.with_instances(min(budget.instances, 200)))


CLAIMS = (
    claim(
        id="group-relative-reinforce/opmd-is-a-penalty",
        source="Section 5 (OPMD as regularised REINFORCE)",
        statement=r"$\frac1{2\tau}(r-\bar r-\tau\log\rho)^2$ is REINFORCE's loss, the penalty "
        r"$\frac\tau2(\log\rho)^2$ and a constant.",
        kind=Identity,
        premises=("symbolically",),
        check=_square_check,
        control=partial(_square_check, factor=2),
        control_statement=r"the penalty is $\tau(\log\rho)^2$.",
    ),
    claim(
        id="group-relative-reinforce/opmd-keeps-the-optimum",
        source="Section 5 (OPMD), as if the group mean served as well as the normaliser it stands for",
        statement=r"The KL-regularised optimum $\propto\pi_{old}e^{r/\tau}$ is stationary for OPMD.",
        kind=Identity,
        premises=(BANDIT, r"exact expectations over $\pi_{old}$"),
        check=_stationary_check,
        control=partial(_stationary_check, soft=True),
        control_statement=r"with the baseline $\tau\log E_{\pi_{old}}e^{r/\tau}$ it is.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/opmd-with-the-normaliser",
        source="ours, repairing OPMD",
        statement=r"With the baseline $\tau\log E_{\pi_{old}}e^{r/\tau}$ the KL-regularised optimum is stationary for "
        "OPMD.",
        kind=Identity,
        premises=(BANDIT, r"exact expectations over $\pi_{old}$"),
        check=partial(_stationary_check, soft=True),
        control=_stationary_check,
        control_statement="with the mean it is.",
    ),
    claim(
        id="group-relative-reinforce/asymre-imitates",
        source="Section 5 (AsymRE as regularised REINFORCE)",
        statement=r"AsymRE's direction is REINFORCE's less $\beta\nabla KL(\pi_b\|\pi_\theta)$.",
        kind=Identity,
        premises=(BANDIT, r"exact expectations over $\pi_b$"),
        check=_imitation_check,
        control=partial(_imitation_check, forward=False),
        control_statement=r"less $\beta\nabla KL(\pi_\theta\|\pi_b)$.",
    ),
    claim(
        id="group-relative-reinforce/asymre-improves",
        source="Section 5 (AsymRE)",
        statement=r"For every $\beta>0$ the limit of AsymRE is worth at least as much as the law of the data.",
        kind=Inequality,
        premises=(BANDIT, "exact gradients"),
        check=_improves_check,
        control=partial(_improves_check, sign=-1.0),
        control_statement="the same with the advantages reversed.",
    ),
    claim(
        id="group-relative-reinforce/trinity-rescales",
        source="Trinity's OPMD (the released loss, over 1 + tau)",
        statement=r"With the mean as baseline Trinity's OPMD is REINFORCE with steps smaller by $1+\tau$: it "
        "regularises nothing.",
        kind=Identity,
        premises=(BANDIT, FIXED, "50 plain gradient steps"),
        check=_rescaled_check,
        control=partial(_rescaled_check, soft=True),
        control_statement=r"so it is with the baseline $\tau\log E e^{r/\tau}$.",
    ),
    claim(
        id="group-relative-reinforce/trinity-has-one-end",
        source="Trinity's OPMD (the released baseline), as if the baseline did not matter for where training ends",
        statement=r"With the baseline $\tau\log E e^{r/\tau}$ training ends on the same answer from every start.",
        kind=Identity,
        premises=(THREE_ARMS, r"exact gradients, $\tau=1$; started within 0.001 of each answer"),
        check=_ends_check,
        control=partial(_ends_check, soft=False),
        control_statement="with the mean as baseline it does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="group-relative-reinforce/negative-sums-attract",
        source="ours, on Trinity's OPMD",
        statement=r"Where $B=\sum_jc_j<0$, training returns to answer a from next to it iff $c_a-B>c_j$ for all other "
        "answers.",
        kind=Identity,
        premises=(BANDIT, FIXED, "4000 steps; no margin below 0.02"),
        check=_attracts_check,
        control=partial(_attracts_check, largest=True),
        control_statement=r"iff $c_a$ is the largest.",
    ),
)
