"""Theorem 3.2: the soft sampler, in trees and in the didactic example."""

from __future__ import annotations

from functools import partial
from math import exp

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.rover.common import (
    BINARY,
    EXISTS,
    SIZES,
    SOLVABLE,
    TREE,
    UNIFORM,
    claim,
    masks,
    sparse_tree,
)
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.decision_trees import action_values, optimal_value, softmax, uniform, value, visits
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Space

SOFT_TREES = Space(SIZES, EXISTS | {"leaf": Box("ABC", 0, 1, step=1), "log_rho": Box("", -5, 2.5)})


# Theorem 3.2


def _soft(
    first: Array, second: Array, third: Array, leaf: Array, log_rho: Array, *, factor: float, solvable: bool
) -> Trials:
    r"""The theorem's lower bound against the value of the sampler, R = 1."""
    exists, rho = masks(first, second, third), np.exp(log_rho)
    q = action_values(leaf, uniform(exists))
    policy = softmax(q, exists, rho)
    loss = np.zeros(rho.shape)
    for values, mask, reached in zip(q, exists, visits(policy)):
        dead = ((values == 0) & (mask > 0)).sum(axis=-1)
        key = (dead >= 1) & (dead < mask.sum(axis=-1))
        height = np.exp(np.where(mask > 0, values, -np.inf).max(axis=-1) / _like(rho, dead))
        share = np.where(key, factor * dead / (factor * dead + height), 0.0)
        loss += (reached * share).reshape(len(rho), -1).sum(axis=-1)
    # some tens of roundings of numbers at most 1, and e^x is x ulps wrong
    error = 64 * EPS * (4 + 1 / rho)
    return Trials(1 - loss, value(leaf, policy), error, holds=(optimal_value(leaf, exists) > 0) | (not solvable))


def _like(rho: Array, x: Array) -> Array:
    return rho.reshape(rho.shape + (1,) * (x.ndim - rho.ndim))


def _soft_check(budget: Budget, factor: float = 1.0, solvable: bool = True) -> Inequality:
    needle = sparse_tree() | {"log_rho": np.array(0.0)}
    measure = partial(_soft, factor=factor, solvable=solvable)
    return attack(SOFT_TREES, measure, budget.with_instances(20 * budget.instances), batched=True, hard=[needle])


# The didactic example


def didactic() -> tuple[Array, list[Array]]:
    """Three steps, four actions: each first action has one correct answer; success is one of four modes."""
    leaf = np.zeros((4, 4, 4))
    leaf[np.arange(4), np.arange(4), np.arange(4)] = 1
    return leaf, [np.ones(leaf.shape[: d + 1]) for d in range(3)]


def sampler_success(rho: float) -> float:
    """The success of the sampler of Theorem 3.2 in the didactic example, by backups."""
    leaf, exists = didactic()
    return float(value(leaf, softmax(action_values(leaf, uniform(exists)), exists, rho)))


def closed_form(rho: float) -> float:
    r""":math:`\frac{e^{1/4\rho}}{e^{1/4\rho}+3}\cdot\frac{e^{1/\rho}}{e^{1/\rho}+3}` (ours)."""
    return 1 / ((1 + 3 * exp(-0.25 / rho)) * (1 + 3 * exp(-1 / rho)))


def _didactic_check(budget: Budget, rho: float, least: float = 0.99) -> Inequality:
    """One instance: the shortfall from success is below one percent."""
    success = sampler_success(rho)
    shortfall, allowed = 1 - success, 1 - least
    witness = {"rho": rho, "success": success, "closed form": closed_form(rho)}
    return Inequality(shortfall / allowed, shortfall - allowed, 64 * EPS, 1, 1, 1, 1, witness)


def _closed_form_check(budget: Budget, exponent: float = 0.25) -> Identity:
    def measure(log_rho: Array) -> Trial:
        rho = float(np.exp(log_rho))
        printed = 1 / ((1 + 3 * exp(-exponent / rho)) * (1 + 3 * exp(-1 / rho)))
        return Trial(abs(sampler_success(rho) - printed), 64 * EPS * (4 + 1 / rho))

    return equate(Space({}, {"log_rho": Box("", -4, 4)}), measure, budget)


def _tight(first: Array, second: Array, third: Array, leaf: Array, log_rho: Array, *, single: bool) -> Trial | None:
    """The slack of Theorem 3.2 where every key state that is reached has one action of positive value, or two."""
    exists = masks(first[None], second[None], third[None])
    q = action_values(leaf[None], uniform(exists))
    counts = []
    for values, mask, reached in zip(q, exists, visits(softmax(q, exists, np.exp(log_rho)[None]))):
        dead, alive = ((values == 0) & (mask > 0)).sum(axis=-1), ((values > 0) & (mask > 0)).sum(axis=-1)
        counts += list(alive[(dead > 0) & (alive > 0) & (reached > 0)])
    if not counts or (max(counts) > 1) == single or optimal_value(leaf[None], exists)[0] == 0:
        return None
    block = (x[None] for x in (first, second, third, leaf, log_rho))
    trials = _soft(*block, factor=1.0, solvable=True)
    return Trial(abs(float(trials.bound[0] - trials.value[0])), float(trials.error[0]))


def _tight_check(budget: Budget, single: bool = True) -> Identity:
    return equate(SOFT_TREES, partial(_tight, single=single), budget)


CLAIMS = (
    claim(
        id="rover/soft-bound",
        source="Theorem 3.2",
        statement=r"$V^{\pi_s}(s_0)\ge R\bigl(1-\sum_{s\in P}\Pr^{\pi_s}(s)\frac{N(s)}{N(s)+e^{\max_a "
        r"Q^u(s,a)/\rho}}\bigr)$, "
        r"where $N(s)$ counts the actions with $Q^u=0$ and $P$ holds the states in which some but not all are.",
        kind=Inequality,
        premises=(TREE, BINARY, UNIFORM, SOLVABLE + " (not said in the theorem)", r"$\rho\in[0.007,12]$, $R=1$"),
        check=_soft_check,
        control=partial(_soft_check, factor=0.9),
        control_statement=r"the same with $0.9\,N(s)$.",
    ),
    claim(
        id="rover/soft-bound-as-printed",
        source="Theorem 3.2",
        statement=r"The bound of Theorem 3.2 holds in every tree of Section 3.1.",
        kind=Inequality,
        premises=(TREE, BINARY, UNIFORM),
        check=partial(_soft_check, solvable=False),
        control=_soft_check,
        control_statement=r"the same where a correct answer can be reached: otherwise $P$ is empty and the bound "
        r"reads $0\ge R$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="rover/didactic-closed-form",
        source="ours, on the didactic example of Section 3",
        statement=r"With four modes in three steps the sampler succeeds with probability "
        r"$\frac{e^{1/4\rho}}{e^{1/4\rho}+3}\cdot\frac{e^{1/\rho}}{e^{1/\rho}+3}$.",
        kind=Identity,
        premises=("the didactic tree: three steps, four actions, one correct answer behind each first action",),
        check=_closed_form_check,
        control=partial(_closed_form_check, exponent=0.26),
        control_statement=r"the same with $0.26$ for $1/4$.",
    ),
    claim(
        id="rover/temperature-one",
        source="Section 3 and the hyper-parameters of Section 5",
        statement=r"At $\rho=1$, which the paper uses, the sampler of Theorem 3.2 solves the didactic example "
        r"(success at least 0.99).",
        kind=Inequality,
        premises=("the didactic tree", UNIFORM, "$R=1$"),
        check=partial(_didactic_check, rho=1.0),
        control=partial(_didactic_check, rho=0.03),
        control_statement=r"the same at $\rho=0.03$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="rover/soft-bound-is-tight",
        source="ours, on Theorem 3.2",
        statement="The bound of Theorem 3.2 is an equality where every key state has one action of positive value.",
        kind=Identity,
        premises=(TREE, BINARY, UNIFORM, SOLVABLE),
        check=_tight_check,
        control=partial(_tight_check, single=False),
        control_statement="the same where some key state has two.",
    ),
)
