"""Theorem 3.1: acting greedily on the values of the uniform policy, and what becomes of it beyond its premises."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.rover.common import BINARY, EXISTS, SIZES, TREE, UNIFORM, claim, masks, sparse_tree
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.decision_trees import action_values, greedy, optimal_value, uniform, worst_value
from claimlab.theory.evidence import Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack
from claimlab.theory.spaces import Box, Simplex, Space

BINARY_TREES = Space(SIZES, EXISTS | {"leaf": Box("ABC", 0, 1, step=1)})


# Theorem 3.1


def _greedy(
    first: Array, second: Array, third: Array, leaf: Array, behaviour: tuple[str, ...] = (), **laws: Array
) -> Trials:
    """The optimum against the worst way to break ties among the greedy actions; no arithmetic but on zeros matters."""
    exists = masks(first, second, third)
    policy = [laws[name] for name in behaviour] or uniform(exists)
    best, got = optimal_value(leaf, exists), worst_value(leaf, greedy(action_values(leaf, policy), exists))
    return Trials(best, got, 0.0)


def _greedy_check(budget: Budget, rewards: Box | None = None) -> Inequality:
    """With other `rewards`, the premise of two values is dropped."""
    space = BINARY_TREES if rewards is None else Space(SIZES, EXISTS | {"leaf": rewards})
    return attack(space, _greedy, budget.with_instances(50 * budget.instances), batched=True, hard=[sparse_tree()])


LAWS = {"law1": Simplex("A"), "law2": Simplex("AB"), "law3": Simplex("ABC")}


def _behaviour(full_support: bool, leaf: Array, **laws: Array) -> Trials:
    n = leaf.shape[:1]
    ones = {name: np.ones(laws[law].shape) for name, law in zip(EXISTS, LAWS)}
    mixed = {name: 0.999 * x + 0.001 / x.shape[-1] if full_support else x for name, x in laws.items()}
    return _greedy(**ones, leaf=leaf, behaviour=tuple(LAWS), **mixed)._replace(holds=np.ones(n, dtype=bool))


def _behaviour_check(budget: Budget, full_support: bool = True) -> Inequality:
    space = Space(SIZES, LAWS | {"leaf": Box("ABC", 0, 1, step=1)})
    many = budget.with_instances(20 * budget.instances)
    return attack(space, partial(_behaviour, full_support), many, batched=True)


# Stochastic moves: how far greedy play on the uniform policy's values can fall


def _stochastic(win: Array, sure: Array, *, shared: bool) -> Trials:
    """A door to A actions that win with the probabilities `win`, and one that wins with probability `sure`.

    Behind the second door a coin decides, whatever is done.
    """
    mean, best = win.mean(axis=-1), win.max(axis=-1)
    got = np.where(mean > sure, best, np.where(mean < sure, sure, np.minimum(best, sure)))
    return Trials(np.maximum(best, sure) / (win.shape[-1] if shared else 1), got, 4 * EPS)


def _stochastic_check(budget: Budget, shared: bool = True) -> Inequality:
    space = Space({"A": (2, 5)}, {"win": Box("A", 0, 1), "sure": Box("", 0, 1)})
    needle = {"win": np.array([1.0, 0, 0, 0]), "sure": np.array(0.251)}
    many = budget.with_instances(20 * budget.instances)
    return attack(space, partial(_stochastic, shared=shared), many, batched=True, hard=[needle])


# Beyond the premises: graphs, costs, cycles


def _merged(next1: Array, next2: Array, leaf: Array, low: Array, gain: Array, *, binary: bool) -> Trials:
    """Layers of nodes with several parents, rewards low and low + gain: the optimum against the worst greedy choice."""
    n, S = leaf.shape[:2]
    to = [np.minimum((x * S).astype(int), S - 1) for x in (next1, next2)]
    rows = np.arange(n)[:, None, None]
    won = (leaf > 0.5) if binary else leaf
    reward = low[:, None, None] + (1 + gain)[:, None, None] * won
    q3 = reward
    v3 = q3.mean(axis=2)
    q2 = v3[rows, to[1]]
    q1 = q2.mean(axis=2)[rows, to[0]]
    best, worst = reward.max(axis=2), np.where(q3 >= q3.max(axis=2, keepdims=True), reward, np.inf).min(axis=2)
    for q, step in ((q2, to[1]), (q1, to[0])):
        best = best[rows, step].max(axis=2)
        worst = np.where(q >= q.max(axis=2, keepdims=True) - 1e-9, worst[rows, step], np.inf).min(axis=2)
    return Trials(best[:, 0] + 4, worst[:, 0] + 4, 1e-9)  # rewards are above -2


def _merged_check(budget: Budget, binary: bool = True) -> Inequality:
    fields = {"next1": Box("SA", 0, 0.999), "next2": Box("SA", 0, 0.999), "leaf": Box("SA", 0, 1)}
    space = Space({"S": (1, 4), "A": (1, 3)}, fields | {"low": Box("", -2, 2), "gain": Box("", 0, 2)})
    return attack(space, partial(_merged, binary=binary), budget.with_instances(20 * budget.instances), batched=True)


def _costs(first: Array, second: Array, third: Array, leaf: Array, length: Array, cost: Array, *, paid: bool) -> Trials:
    """Answers of one to three steps, each step at a cost; `paid` takes it from the reward."""
    charge = cost[:, None, None, None] * length * paid
    return _greedy(first, second, third, leaf - charge)


def _costs_check(budget: Budget, paid: bool = True) -> Inequality:
    fields = {"leaf": Box("ABC", 0, 1, step=1), "length": Box("ABC", 1, 3, step=1), "cost": Box("", 0.05, 0.3)}
    space = Space(SIZES, EXISTS | fields)
    return attack(space, partial(_costs, paid=paid), budget.with_instances(20 * budget.instances), batched=True)


def _cycles(to: Array, *, gamma: float) -> Trial | None:
    """Whether every greedy policy reaches the goal from node 0, where some policy does: 1 - that, against 0.

    Actions lead to nodes 0 to S - 1, to the goal, S, or to failure, S + 1.  Values are the least fixed point.
    """
    S = len(to)
    step = np.minimum((to * (S + 2)).astype(int), S + 1)
    reach, sure = np.zeros(S + 2), np.zeros(S + 2)
    reach[S] = sure[S] = 1.0
    move = np.eye(S + 2)
    move[:S] = gamma * np.eye(S + 2)[step].mean(axis=1)
    v = np.linalg.matrix_power(move, 2**14)[:, S]
    q = v[step]
    for _ in range(S + 1):
        reach[:S] = reach[step].max(axis=1)
        sure[:S] = np.where(q >= q.max(axis=1, keepdims=True) - 1e-9, sure[step], 1.0).min(axis=1)
    return Trial(1 - float(sure[0]), 0.0) if reach[0] > 0 else None


def _cycles_check(budget: Budget, gamma: float = 1.0) -> Inequality:
    """By hand: one node, one action that stays and one that reaches the goal have the same value, 1."""
    stay = {"to": np.array([[0.0, 0.4]])}
    return attack(Space({"S": (1, 3), "A": (1, 3)}, {"to": Box("SA", 0, 0.999)}), partial(_cycles, gamma=gamma),
                  budget, hard=[stay])  # fmt: skip


def _roll_outs(A: Array, H: Array, delta: Array, *, share: float) -> Trial:
    """The chance that N roll-outs after the right first action miss the one correct answer of depth H."""
    chance = float(A) ** -(float(H) - 1)
    N = np.ceil(share * np.log(1 / float(delta)) / chance)
    return Trial(float(np.exp(N * np.log1p(-chance))) if chance < 1 else 0.0, float(delta), 1e-12)


def _roll_outs_check(budget: Budget, share: float = 1.0) -> Inequality:
    fields = {"A": Box("", 2, 10, step=1), "H": Box("", 1, 6, step=1), "delta": Box("", 0.001, 0.5)}
    return attack(Space({}, fields), partial(_roll_outs, share=share), budget)


CLAIMS = (
    claim(
        id="rover/greedy-is-optimal",
        source="Theorem 3.1",
        statement=r"A policy that is greedy for $Q^u$ is optimal, however it breaks ties.",
        kind=Inequality,
        premises=(TREE, BINARY, UNIFORM),
        check=_greedy_check,
        control=partial(_greedy_check, rewards=Box("ABC", 0, 1)),
        control_statement=r"the same for any rewards in $[0,1]$.",
    ),
    claim(
        id="rover/any-behaviour",
        source="ours, sharpens Theorem 3.1",
        statement=r"The uniform policy can be any policy $\mu$ with full support: greedy for $Q^\mu$ is optimal.",
        kind=Inequality,
        premises=(TREE, BINARY, r"$\mu(a|s)>0$ for every action"),
        check=_behaviour_check,
        control=partial(_behaviour_check, full_support=False),
        control_statement=r"the same where $\mu$ may leave actions out.",
    ),
    claim(
        id="rover/chance-moves",
        source="ours, on the premises of Theorem 3.1",
        statement=r"With chance moves a policy greedy for $Q^u$ still gets a share $1/|A|$ of the optimum, and no "
        r"more: "
        r"in the family of one door to $|A|$ actions and one door to a coin.",
        kind=Inequality,
        premises=("two steps", "win probabilities instead of certain outcomes", UNIFORM),
        check=_stochastic_check,
        control=partial(_stochastic_check, shared=False),
        control_statement="greedy is optimal with chance moves too.",
    ),
    claim(
        id="rover/greedy-on-graphs",
        source="ours, extends Theorem 3.1",
        statement=r"Greedy for $Q^u$ is optimal where prefixes merge (any layered graph), for rewards $c$, $c+R$.",
        kind=Inequality,
        premises=("three layers of up to four nodes, up to three actions", "two terminal rewards", UNIFORM),
        check=_merged_check,
        control=partial(_merged_check, binary=False),
        control_statement=r"the same with rewards between $c$ and $c+R$.",
    ),
    claim(
        id="rover/step-costs",
        source="ours, on the premises of Theorem 3.1",
        statement=r"Greedy for $Q^u$ stays optimal when every step has a cost.",
        kind=Inequality,
        premises=(TREE, "answers of one to three steps, rewards 0 or 1 less a cost of 0.05 to 0.3 a step", UNIFORM),
        check=_costs_check,
        control=partial(_costs_check, paid=False),
        control_statement="the same without the cost.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="rover/cycles",
        source="ours, on the premises of Theorem 3.1",
        statement=r"Where a state can come again, a policy greedy for $Q^u$ still reaches a goal that can be reached.",
        kind=Inequality,
        premises=("up to three nodes, deterministic moves, no clock and no discount", UNIFORM),
        check=_cycles_check,
        control=partial(_cycles_check, gamma=0.9),
        control_statement=r"the same with $\gamma=0.9$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="rover/roll-outs",
        source="ours, on estimating $Q^u$ by uniform roll-outs",
        statement=r"With one correct answer in $|A|^H$, $|A|^{H-1}\log\frac1\delta$ roll-outs after the right first "
        r"action see it but with probability $\delta$.",
        kind=Inequality,
        premises=(r"$|A|\le10$, $H\le6$; without it all first actions look alike",),
        check=_roll_outs_check,
        control=partial(_roll_outs_check, share=0.5),
        control_statement="half as many do.",
    ),
)
