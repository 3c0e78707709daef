r"""How far the optimal-action sets of Lemma 2.5 only shrink: ours, exact with ties."""

from __future__ import annotations

from functools import partial
from itertools import product
from math import inf
from typing import Any

import numpy as np

from claimlab.checks import Array, Bools
from claimlab.experiments.papers.policy_cliff.common import (
    DISCOUNT,
    FINITE,
    GAMMA,
    SIZES,
    WHOLE,
    cheapest,
    claim,
    first_newcomer,
    least_positive_gap,
    tied_mdp,
    two_sinks,
)
from claimlab.mdps.tabular import EPS, TabularMDP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.inclusion import inclusion_by_milp, inclusion_radius
from claimlab.theory.spaces import Box, Simplex, Space

ALL_WHOLE = Space(SIZES, {"P": Simplex("SAS"), "q": WHOLE, "gamma": GAMMA})


def _ties_lower(P: Array, q: Array, gamma: Array, *, constant: float) -> Trial | None:
    mdp, best = tied_mdp(P, q, float(gamma))
    if best.all():
        return None
    radius, gap = inclusion_radius(mdp, optimal=best), least_positive_gap(q)
    return Trial(constant * (1 - mdp.gamma) * gap, radius.radius, radius.radius - radius.lower + 64 * EPS * gap)


def _ties_upper(P: Array, q: Array, gamma: Array, *, constant: float) -> Trial | None:
    """How far one must go in the statement's own direction until a new action is optimal, found by solving."""
    mdp, best = tied_mdp(P, q, float(gamma))
    if best.all():
        return None
    gap = q.max(axis=1, keepdims=True) - q
    D = np.where(gap == least_positive_gap(q), 1.0, -1.0)
    D[D > 0] = np.where(np.arange((D > 0).sum()) == 0, 1.0, -1.0)  # one pair of the least gap is enough
    broken_at, error = first_newcomer(mdp, D, best)
    return Trial(broken_at, constant * least_positive_gap(q), error)


def _ties_check(budget: Budget, measure: Any, constant: float = 0.5) -> Inequality:
    sinks = two_sinks(0.9)
    hard = [
        {"P": sinks["P"], "q": np.array([[1.0, 0.0], [0.0, -2.0], [0.0, -2.0]]), "gamma": sinks["gamma"]},
        {"P": np.ones((1, 3, 1)), "q": np.array([[1.0, 1, 0]]), "gamma": np.array(0.5)},
    ]
    fewer = budget.with_instances(max(50, budget.instances // 3))
    return attack(ALL_WHOLE, partial(measure, constant=constant), fewer, hard=hard)


def _every_policy(mdp: TabularMDP, best: Bools, *, exact_values: bool) -> tuple[float, float]:
    """Brute force: the distance to the cone of each policy that uses a formerly suboptimal action, and solver slack.

    With ``exact_values=False`` the programs only ask for some V that no action improves on (V >= T V) with equality on
    the policy at the new action: a relaxation in which V may be inflated elsewhere.
    """
    S, A = mdp.r.shape
    n, least, slack = S * A, inf, 0.0
    r = mdp.r.ravel()
    owner = np.repeat(np.eye(S), A, axis=0)
    ahead = owner - mdp.gamma * mdp.P.reshape(n, S)  # V(s) - gamma P V
    improve = np.hstack([np.eye(n), -ahead, np.zeros((n, 1))])  # r + D <= V - gamma P V
    for policy in product(range(A), repeat=S):
        pairs = np.arange(S) * A + np.array(policy)
        new = [k for k in pairs if not best.ravel()[k]]
        if not new:
            continue
        for tight in [pairs] if exact_values else [[k] for k in new]:
            value, tolerance = cheapest(mdp, improve, -r, improve[tight], -r[tight])
            least, slack = min(least, value), max(slack, tolerance)
    return least, slack


TINY_TIES = Space({"S": (1, 3), "A": (2, 2)}, {"P": Simplex("SAS"), "q": WHOLE, "gamma": Box("", 0.0, 0.9)})


def _ties_agree(P: Array, q: Array, gamma: Array, *, exact_values: bool) -> Trial | None:
    mdp, best = tied_mdp(P, q, float(gamma))
    if best.all():
        return None
    ours = inclusion_radius(mdp, optimal=best)
    brute, slack = _every_policy(mdp, best, exact_values=exact_values)
    integer = inclusion_by_milp(mdp, best)
    # the integer program's binaries may be off by HiGHS' 1e-6, which its big constant turns into values
    binary = 1e-6 * 4 * (mdp.value_bound + 4 / (1 - mdp.gamma))
    against = ((abs(ours.radius - brute), slack), (abs(ours.radius - integer.radius), binary))
    residual, rounding = max(against, key=lambda pair: pair[0] / pair[1])
    return Trial(residual, rounding + ours.radius - ours.lower)


def _ties_agree_check(budget: Budget, exact_values: bool = True) -> Identity:
    fewer = budget.with_instances(max(15, budget.instances // 40))
    return equate(TINY_TIES, partial(_ties_agree, exact_values=exact_values), fewer)


OURS_TIES = "ours, makes Lemma 2.5 quantitative"

CLAIMS = (
    claim(
        id="policy-cliff/radius-ties-lower",
        source=OURS_TIES,
        statement=(
            r"With ties, no new action becomes optimal below $(1-\gamma)\Delta^+/2$, $\Delta^+$ the least positive gap."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT),
        check=partial(_ties_check, measure=_ties_lower),
        control=partial(_ties_check, measure=_ties_lower, constant=1.0),
        control_statement=r"none does below $(1-\gamma)\Delta^+$.",
    ),
    claim(
        id="policy-cliff/radius-ties-upper",
        source=OURS_TIES,
        statement=(
            r"With ties, some reward change of size $\Delta^+/2$ makes a new action optimal: raise the pair with the "
            r"least positive gap by $\Delta^+/2$ and lower every other by as much."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT),
        check=partial(_ties_check, measure=_ties_upper),
        control=partial(_ties_check, measure=_ties_upper, constant=0.4),
        control_statement=r"some change of size $0.4\,\Delta^+$ does.",
    ),
    claim(
        id="policy-cliff/radius-ties-exact",
        source=OURS_TIES,
        statement=(
            "The radius from programs over the optimal policies' facets equals brute force over all deterministic "
            "policies and the integer program."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT),
        check=_ties_agree_check,
        control=partial(_ties_agree_check, exact_values=False),
        control_statement=r"it equals the programs that ask only for $V \ge TV$ instead of $V = V^*$.",
    ),
)
