r"""Random Policy Valuation is Enough (ROVER): act greedily, or softly, on the values of the uniform policy.

The setting of Section 3.1: a finite tree with deterministic moves and no discount, in which only complete answers are
rewarded, with 0 or R.  :math:`Q^u` are the action values of the uniform policy, and the sampler of Theorem 3.2 is
:math:`\pi_s(a|s)\propto e^{Q^u(s,a)/\rho}`.  The practical algorithm (Algorithm 1) fits
:math:`\rho\log(\pi_\theta/\pi_{old})` to the centred reward plus its own mean at the next prefix.  The comparison with
clipped policy gradient is at one setting of answers and inner steps; accuracy in small is a question of the study
`rover` (``claimlab lm run rover``), entropy and distinct solutions on countdown need a larger model.
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import exp
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.decision_trees import (
    action_values,
    greedy,
    optimal_value,
    softmax,
    uniform,
    value,
    visits,
    worst_value,
)
from claimlab.theory.evidence import (
    Comparison,
    Identity,
    Inequality,
    Outcome,
    Probability,
    comparison,
    probability,
)
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="rover",
    title="Random Policy Valuation is Enough for LLM Reasoning with Verifiable Rewards",
    authors="Haoran He, Yuxiao Ye, Qingpeng Cai, Chen Hu, Binxing Jiao, Daxin Jiang, Ling Pan",
    venue="ICLR 2026",
    arxiv="2509.24981",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TREE = "a finite tree with deterministic moves, no discount, rewards at complete answers only"
BINARY = "two terminal rewards, 0 and R"
SOLVABLE = "some correct answer can be reached"
UNIFORM = "$Q^u$ are the exact action values of the uniform policy over the actions of each node"

EXISTS = {"first": Box("A", 0, 1, step=1), "second": Box("AB", 0, 1, step=1), "third": Box("ABC", 0, 1, step=1)}
SIZES = {"A": (1, 4), "B": (1, 4), "C": (1, 4)}
BINARY_TREES = Space(SIZES, EXISTS | {"leaf": Box("ABC", 0, 1, step=1)})
SOFT_TREES = Space(SIZES, EXISTS | {"leaf": Box("ABC", 0, 1, step=1), "log_rho": Box("", -5, 2.5)})


def _masks(first: Array, second: Array, third: Array) -> list[Array]:
    """Which actions exist: those drawn, and the first where none was."""
    out = []
    for mask in (first, second, third):
        alone = mask.sum(axis=-1, keepdims=True) == 0
        out.append(np.where(alone, np.arange(mask.shape[-1]) == 0, mask).astype(float))
    return out


# Theorem 3.1


def _greedy(
    first: Array, second: Array, third: Array, leaf: Array, behaviour: tuple[str, ...] = (), **laws: Array
) -> Trials:
    """The optimum against the worst way to break ties among the greedy actions; no arithmetic but on zeros matters."""
    exists = _masks(first, second, third)
    policy = [laws[name] for name in behaviour] or uniform(exists)
    best, got = optimal_value(leaf, exists), worst_value(leaf, greedy(action_values(leaf, policy), exists))
    return Trials(best, got, 0.0)


def _greedy_check(budget: Budget, rewards: Box | None = None) -> Inequality:
    """With other `rewards`, the premise of two values is dropped."""
    space = BINARY_TREES if rewards is None else Space(SIZES, EXISTS | {"leaf": rewards})
    return attack(space, _greedy, budget.with_instances(50 * budget.instances), batched=True, hard=[_needle()])


def _needle() -> Case:
    """One correct answer among 4^3."""
    leaf = np.zeros((4, 4, 4))
    leaf[3, 3, 3] = 1
    return {"first": np.ones(4), "second": np.ones((4, 4)), "third": np.ones((4, 4, 4)), "leaf": leaf}


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


# Theorem 3.2


def _soft(
    first: Array, second: Array, third: Array, leaf: Array, log_rho: Array, *, factor: float, solvable: bool
) -> Trials:
    r"""The theorem's lower bound against the value of the sampler, R = 1."""
    exists, rho = _masks(first, second, third), np.exp(log_rho)
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
    needle = _needle() | {"log_rho": np.array(0.0)}
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


# Proposition 1 and the practical loss

LOGITS = {"x": Box("A", -2, 2), "y": Box("AB", -2, 2), "dx": Box("A", -1, 1), "dy": Box("AB", -1, 1)}
LOSSES = Space(
    {"A": (1, 3), "B": (1, 3), "N": (2, 4)},
    LOGITS | {"r": Box("N", 0, 1), "pick1": Box("N", 0, 0.999), "pick2": Box("N", 0, 0.999), "rho": Box("", 0.1, 3)},
)


def _log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class _Sampled:
    """Two-token answers, their centred rewards, and log-probabilities under the old policy."""

    def __init__(self, x: Array, y: Array, r: Array, pick1: Array, pick2: Array) -> None:
        self.a, self.b = (pick1 * len(x)).astype(int), (pick2 * y.shape[1]).astype(int)
        self.old, self.centred = (_log_softmax(x), _log_softmax(y)), r - r.mean()

    def ratios(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """log pi_theta / pi_old of the first tokens, of the second, and its mean over the vocabulary in between."""
        one, two = _log_softmax(x) - self.old[0], _log_softmax(y) - self.old[1]
        return one[self.a], two[self.a, self.b], two[self.a].mean(axis=-1)

    def scores(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The gradient of the log-probability of each token: float[N, A] in x, float[N, A, B] in y."""
        first = np.eye(len(x))[self.a] - np.exp(_log_softmax(x))
        second = np.zeros((len(self.a), *y.shape))
        own = np.eye(y.shape[1])[self.b] - np.exp(_log_softmax(y))[self.a]
        second[np.arange(len(self.a)), self.a] = own
        return first, second


def _loss_gradient(s: _Sampled, x: Array, y: Array, rho: float) -> Array:
    """The derivative of Algorithm 1's loss by complex steps, the target held fixed: exact to rounding."""
    _, _, bootstrap = s.ratios(x, y)
    targets = s.centred + rho * bootstrap, s.centred
    flat = np.concatenate([x, y.ravel()])

    def loss(theta: Any) -> Any:  # complex
        one, two, _ = s.ratios(theta[: len(x)], theta[len(x) :].reshape(y.shape))
        return (((rho * one - targets[0]) ** 2 + (rho * two - targets[1]) ** 2) / 2).mean()

    step = 1e-30
    return np.array([loss(flat + 1j * step * e).imag / step for e in np.eye(len(flat))])


def _weighted_scores(s: _Sampled, x: Array, y: Array, first: Array, second: Array) -> Array:
    """The mean over answers, and over their two tokens, of weight times score."""
    g1, g2 = s.scores(x, y)
    in_x, in_y = (first[:, None] * g1).mean(axis=0) / 2, (second[:, None, None] * g2).mean(axis=0) / 2
    return np.concatenate([in_x, in_y.ravel()])


def _gradient(
    x: Array, y: Array, dx: Array, dy: Array, r: Array, pick1: Array, pick2: Array, rho: Array, *, printed: bool
) -> Trial:
    s, temperature = _Sampled(x, y, r, pick1, pick2), float(rho)
    x, y = x + dx, y + dy
    one, two, bootstrap = s.ratios(x, y)
    scale = 1.0 if printed else temperature
    first, second = scale * one - s.centred - temperature * bootstrap, scale * two - s.centred
    factor = -1.0 if printed else 2 * temperature
    stated = factor * _weighted_scores(s, x, y, first, second)
    residual = abs(_loss_gradient(s, x, y, temperature) - stated).max()
    return Trial(float(residual), 1e3 * EPS * (1 + temperature) ** 2)


def _gradient_check(budget: Budget, printed: bool = False) -> Identity:
    return equate(LOSSES, partial(_gradient, printed=printed), budget)


def _one_step(
    x: Array, y: Array, dx: Array, dy: Array, r: Array, pick1: Array, pick2: Array, rho: Array, *, moved: bool
) -> Trial:
    s, temperature = _Sampled(x, y, r, pick1, pick2), float(rho)
    x, y = (x + dx, y + dy) if moved else (x, y)
    reinforce = _weighted_scores(s, x, y, s.centred, s.centred)
    residual = abs(_loss_gradient(s, x, y, temperature) + 2 * temperature * reinforce).max()
    return Trial(float(residual), 1e3 * EPS * (1 + temperature) ** 2)


def _one_step_check(budget: Budget, moved: bool = False) -> Identity:
    return equate(LOSSES, partial(_one_step, moved=moved), budget)


def _bootstrap(old: Array, new: Array, *, swapped: bool) -> Trial:
    one, other = _log_softmax(old), _log_softmax(new)
    u = 1 / len(old)
    kl_old, kl_new = float((u * (np.log(u) - one)).sum()), float((u * (np.log(u) - other)).sum())
    stated = kl_new - kl_old if swapped else kl_old - kl_new
    return Trial(abs(float((other - one).mean()) - stated), 256 * EPS)


def _bootstrap_check(budget: Budget, swapped: bool = False) -> Identity:
    space = Space({"A": (1, 6)}, {"old": Box("A", -5, 5), "new": Box("A", -5, 5)})
    return equate(space, partial(_bootstrap, swapped=swapped), budget)


# Diversity at equal success, in the didactic example

ANSWERS, INNER, CLIP, STEP, UPDATES, SUCCESS = 8, 4, 0.2, 1.0, 4_000, 0.95


@kernel
def _log_law(logits: Array, out: Array) -> None:
    top = logits.max()
    out[:] = logits - top
    out -= np.log(np.exp(out).sum())


@kernel
def _modes_at_success(
    rover: bool, answers: int, inner: int, rho: float, step: float, broadcast: bool, share: float, updates: int,
    rng: Generator,
) -> float:  # fmt: skip
    """exp of the entropy over the four correct answers when success first reaches 0.95; 0 if it never does.

    Algorithm 1, or clipped policy gradient with the same centred rewards (Dr. GRPO); plain gradient steps.  Without
    `broadcast` the reward is in the target of the last token only; `share` scales the bootstrap.
    """
    one, two, three = np.zeros(4), np.zeros((4, 4)), np.zeros((4, 4, 4))
    old = np.zeros((answers, 3, 4))
    a = np.zeros((answers, 3), dtype=np.int64)
    reward, law = np.zeros(answers), np.zeros(4)
    for _ in range(updates):
        for i in range(answers):
            for t in range(3):
                logits = one if t == 0 else (two[a[i, 0]] if t == 1 else three[a[i, 0], a[i, 1]])
                _log_law(logits, old[i, t])
                u, pick = rng.random(), 0
                u -= np.exp(old[i, t, 0])
                while u >= 0 and pick < 3:
                    pick += 1
                    u -= np.exp(old[i, t, pick])
                a[i, t] = pick
            reward[i] = 1.0 if a[i, 0] == a[i, 1] and a[i, 1] == a[i, 2] else 0.0
        centred = reward - reward.mean()
        for _ in range(inner):
            g1, g2, g3 = np.zeros(4), np.zeros((4, 4)), np.zeros((4, 4, 4))
            for i in range(answers):
                for t in range(3):
                    logits = one if t == 0 else (two[a[i, 0]] if t == 1 else three[a[i, 0], a[i, 1]])
                    _log_law(logits, law)
                    chosen = a[i, t]
                    moved = law[chosen] - old[i, t, chosen]
                    if rover:
                        target = centred[i] if broadcast or t == 2 else 0.0
                        if t < 2:
                            after = two[a[i, 0]] if t == 0 else three[a[i, 0], a[i, 1]]
                            ahead = np.zeros(4)
                            _log_law(after, ahead)
                            target += share * rho * (ahead - old[i, t + 1]).mean()
                        weight = 2 * rho * (target - rho * moved)
                    else:
                        ratio = np.exp(moved)
                        outside = (centred[i] > 0 and ratio > 1 + CLIP) or (centred[i] < 0 and ratio < 1 - CLIP)
                        weight = 0.0 if outside else 2 * rho * ratio * centred[i]
                    score = -np.exp(law)
                    score[chosen] += 1
                    g = g1 if t == 0 else (g2[a[i, 0]] if t == 1 else g3[a[i, 0], a[i, 1]])
                    g += weight * score / (3 * answers)
            one, two, three = one + step * g1, two + step * g2, three + step * g3
        mode, success = np.zeros(4), 0.0
        for k in range(4):
            _log_law(one, law)
            mode[k] = np.exp(law[k])
            _log_law(two[k], law)
            mode[k] *= np.exp(law[k])
            _log_law(three[k, k], law)
            mode[k] *= np.exp(law[k])
            success += mode[k]
        if success >= SUCCESS:
            entropy = 0.0
            for k in range(4):
                if mode[k] > 0:
                    entropy -= mode[k] / success * np.log(mode[k] / success)
            return float(np.exp(entropy))
    return 0.0


@lru_cache(maxsize=8)
def modes(
    rover: bool, runs: int, seed: int, broadcast: bool = True, share: float = 1.0, updates: int = UPDATES
) -> Array:
    """Modes kept by each run, float[runs]; runs of the two methods with the same number share their uniforms."""
    children = np.random.SeedSequence(seed).spawn(runs)
    return np.array([
        _modes_at_success(rover, ANSWERS, INNER, 1.0, STEP, broadcast, share, updates, np.random.default_rng(child))
        for child in children
    ])  # fmt: skip


def _diversity_check(budget: Budget, handicap: float = 0.0) -> Comparison:
    """ROVER's modes minus those of Dr. GRPO, the latter lessened by `handicap`; half a mode is the least of
    interest."""
    runs = {"smoke": 64, "standard": 512}.get(budget.name, 4096)
    first, second = modes(True, runs, budget.seed), modes(False, runs, budget.seed)
    return comparison(first, second - handicap, effect=0.5, rng=budget.rng("bootstrap"))


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


def _tight(first: Array, second: Array, third: Array, leaf: Array, log_rho: Array, *, single: bool) -> Trial | None:
    """The slack of Theorem 3.2 where every key state that is reached has one action of positive value, or two."""
    exists = _masks(first[None], second[None], third[None])
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


def _roll_outs(A: Array, H: Array, delta: Array, *, share: float) -> Trial:
    """The chance that N roll-outs after the right first action miss the one correct answer of depth H."""
    chance = float(A) ** -(float(H) - 1)
    N = np.ceil(share * np.log(1 / float(delta)) / chance)
    return Trial(float(np.exp(N * np.log1p(-chance))) if chance < 1 else 0.0, float(delta), 1e-12)


def _roll_outs_check(budget: Budget, share: float = 1.0) -> Inequality:
    fields = {"A": Box("", 2, 10, step=1), "H": Box("", 1, 6, step=1), "delta": Box("", 0.001, 0.5)}
    return attack(Space({}, fields), partial(_roll_outs, share=share), budget)


def _terminal_check(budget: Budget, broadcast: bool = False) -> Probability:
    """Runs that reach success 0.95 within 500 updates when the reward is at the last token only."""
    runs = {"smoke": 30, "standard": 100}.get(budget.name, 400)
    found = modes(True, runs, budget.seed, broadcast=broadcast, updates=500)
    return probability(int((found > 0).sum()), runs, 0.5)


def _ablation_check(budget: Budget, handicap: float = 0.0) -> Comparison:
    """Modes with the bootstrap against those without it."""
    runs = {"smoke": 64, "standard": 512}.get(budget.name, 4096)
    first, second = modes(True, runs, budget.seed), modes(True, runs, budget.seed, share=0.0)
    return comparison(first, second - handicap, effect=0.5, rng=budget.rng("bootstrap"))


# Figure


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    rhos = np.geomspace(0.02, 5, 120)
    success = np.array([sampler_success(rho) for rho in rhos])
    key = np.exp(-0.25 / rhos), np.exp(-1 / rhos)
    reached = 1 / (1 + 3 * key[0])
    bound = 1 - 3 * key[0] / (1 + 3 * key[0]) - reached * 3 * key[1] / (1 + 3 * key[1])
    left.plot(rhos, success, label="success of the sampler")
    left.plot(rhos, bound, ls="--", label="bound of Theorem 3.2")
    left.plot([1], [sampler_success(1.0)], "o", color="black", ms=4)
    left.annotate(
        f"ρ = 1: {sampler_success(1.0):.3f}", (1, sampler_success(1.0)), (0.5, 0.42), arrowprops={"arrowstyle": "-"}
    )
    left.set(xscale="log", xlabel="temperature ρ", ylabel="success", ylim=(0, 1.03), title="the didactic tree, 4 of 64")
    left.legend(loc="upper right")
    rows = [{"panel": "sampler", "x": rho, "success": s, "bound": b} for rho, s, b in zip(rhos, success, bound)]
    n = np.unique(np.geomspace(1, 1e6, 60).astype(int))
    for depth in (2, 4, 6, 8):
        chance = 1 - (1 - 4.0 ** -(depth - 1)) ** n
        right.plot(n, chance, label=f"depth {depth}")
        rows += [{"panel": f"depth {depth}", "x": k, "success": c, "bound": np.nan} for k, c in zip(n, chance)]
    right.set(
        xscale="log", xlabel="uniform roll-outs of each first action", ylabel="chance to see it",
        title="four actions a step, one correct answer", ylim=(0, 1.03),
    )  # fmt: skip
    right.legend(loc="lower right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "temperature-and-depth",
        r"Left: success of $\pi_s\propto e^{Q^u/\rho}$ in the didactic example of four modes, with the lower bound of "
        r"Theorem 3.2; at the paper's $\rho=1$ it is 0.142. Right: how many uniform roll-outs it takes before the "
        r"value "
        r"of the uniform policy can tell the right first action from the others at all, exactly.",
        _draw,
    ),
)

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
        id="rover/bootstrap-is-a-divergence",
        source="Algorithm 1 (identity ours)",
        statement=r"The bootstrap of the practical loss is "
        r"$\frac{1}{|V|}\sum_a\log\frac{\pi_\theta(a|s')}{\pi_{old}(a|s')}="
        r"KL(u\|\pi_{old})-KL(u\|\pi_\theta)$: how much flatter the policy became, and nothing about the value of "
        r"$s'$.",
        kind=Identity,
        premises=("full support",),
        check=_bootstrap_check,
        control=partial(_bootstrap_check, swapped=True),
        control_statement="the same with the divergences exchanged.",
    ),
    claim(
        id="rover/gradient",
        source="Proposition 1, corrected",
        statement=r"The derivative of Algorithm 1's loss is $2\rho\,E[(\rho\log\frac{\pi_\theta}{\pi_{old}}-\tilde "
        r"r-Q')\nabla\log\pi_\theta]$.",
        kind=Identity,
        premises=("target held fixed", "two-token answers, any old and new policy"),
        check=_gradient_check,
        control=partial(_gradient_check, printed=True),
        control_statement=r"it is $E[(\tilde r+Q'-\log\frac{\pi_\theta}{\pi_{old}})\nabla\log\pi_\theta]$.",
    ),
    claim(
        id="rover/gradient-as-printed",
        source="Proposition 1",
        statement=r"$\nabla L=E[(\tilde r+Q'-\log\frac{\pi_\theta}{\pi_{old}})\nabla\log\pi_\theta]$.",
        kind=Identity,
        premises=("target held fixed", "two-token answers, any old and new policy"),
        check=partial(_gradient_check, printed=True),
        control=_gradient_check,
        control_statement=r"$\nabla L=2\rho\,E[(\rho\log\frac{\pi_\theta}{\pi_{old}}-\tilde "
        r"r-Q')\nabla\log\pi_\theta]$: "
        r"sign and factor are lost in print.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="rover/one-step-is-reinforce",
        source="Algorithm 1 (identity ours)",
        statement=r"At $\theta=\theta_{old}$ the gradient of the practical loss is $-2\rho$ times that of REINFORCE "
        r"with centred rewards "
        r"(Dr. GRPO): with one inner step the two algorithms are one.",
        kind=Identity,
        premises=("the same aggregation over tokens and answers",),
        check=_one_step_check,
        control=partial(_one_step_check, moved=True),
        control_statement="the same at any $\\theta$, after inner steps.",
    ),
    claim(
        id="rover/keeps-more-modes",
        source="abstract and Figure 3, in the didactic example",
        statement=r"When success first reaches 0.95, practical ROVER has kept at least half a mode more than clipped "
        r"policy gradient "
        r"with the same centred rewards.",
        kind=Comparison,
        premises=(
            f"{ANSWERS} answers and {INNER} inner steps an update, step size {STEP:g}, clip {CLIP}, $\\rho=1$, "
            f"uniform start",
            "modes: exp of the entropy over the correct answers",
            "an analogue: a table of logits, not a network",
        ),
        check=_diversity_check,
        control=partial(_diversity_check, handicap=2.0),
        control_statement="the same when two modes are taken from the other arm.",
        expected=Outcome.REFUTED,
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
        id="rover/soft-bound-is-tight",
        source="ours, on Theorem 3.2",
        statement="The bound of Theorem 3.2 is an equality where every key state has one action of positive value.",
        kind=Identity,
        premises=(TREE, BINARY, UNIFORM, SOLVABLE),
        check=_tight_check,
        control=partial(_tight_check, single=False),
        control_statement="the same where some key state has two.",
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
    claim(
        id="rover/reward-at-the-last-token",
        source="Algorithm 1 (the reward at every token), ablated",
        statement="With the reward at the last token only, as the backup has it, success reaches 0.95 in at most half "
        "of the runs: the bootstrap gives earlier tokens no credit.",
        kind=Probability,
        premises=(f"the didactic tree, 500 updates of {ANSWERS} answers and {INNER} inner steps, $\\rho=1$",),
        check=_terminal_check,
        control=partial(_terminal_check, broadcast=True),
        control_statement="the same with the reward at every token.",
    ),
    claim(
        id="rover/bootstrap-keeps-modes",
        source="ablation of the bootstrap, in the didactic example",
        statement="When success first reaches 0.95, ROVER has kept at least half a mode more than without bootstrap.",
        kind=Comparison,
        premises=(
            f"{ANSWERS} answers and {INNER} inner steps an update, step size {STEP:g}, $\\rho=1$, uniform start",
            "an analogue: a table of logits, not a network",
        ),
        check=_ablation_check,
        control=partial(_ablation_check, handicap=2.0),
        control_statement="the same when two modes are taken from the other arm.",
        expected=Outcome.REFUTED,
    ),
)
