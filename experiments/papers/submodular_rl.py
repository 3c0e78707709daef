r"""Submodular reinforcement learning (SubPO): the policy gradient by marginal gains, and what its end points are worth.

Everything is enumerated over all paths of small processes (:mod:`claimlab.theory.submodular`).  The theorem numbers are
not given: the statements are those that reviews of the paper quote, and the released program was read.  That the
problem is hard to approximate (a reduction from submodular orienteering) is no statement about numbers.

Ours: where no first-order change improves a policy that meets every choice, :math:`J(\pi)\ge(1-c)^HJ(\pi^*)`.  Let
:math:`q=1-c`, let r be the value of single visits, and let v and u be the additive values to go of the best policy and
of :math:`\pi`; gains lie between q r and r.  Then :math:`u\ge q^kv` with k decisions to go: at a choice, u is at least
the mean of the gains to go over the paths that come there, which no other action improves, and after that action and on
any path the gains to go are at least q times r and q times the next u, hence :math:`\ge q(r+q^{k-1}v)` for the best
action.  At the start there is one path, so the gains to go are :math:`\ge q^Hv`, and :math:`J(\pi^*)` is at most what
the start is worth plus v.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory import submodular
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="submodular-rl",
    title="Submodular Reinforcement Learning",
    authors="Manish Prajapat, Mojmír Mutný, Melanie N. Zeilinger, Andreas Krause",
    venue="ICLR 2024",
    arxiv="2307.13372",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TINY = "all paths of two or three steps, coverage functions of time and state"
BANDIT = (
    "each action leads to a state of its own with probability 1 - ε, else to any, wherever one is; one state covers "
    "nothing; policies that look at the time alone"
)
PROCESS = {"P": Simplex("HSAS"), "rho": Simplex("S"), "w": Box("U", 0, 1)}
SIZES = {"H": (1, 3), "S": (1, 3), "A": (2, 2), "U": (1, 3)}


def _cover(cover: Array, horizon: int) -> Array:
    """Zeros and ones [H+1, S, U], from the first times of a longer table."""
    return np.asarray((cover[: horizon + 1] > 0.5).astype(float))


COVER = {"cover": Box("TSU", 0, 1, step=1)}  # T is 4: enough for each H
GRADIENTS = Space(SIZES | {"T": (4, 4)}, PROCESS | COVER | {"theta": Box("HSA", -2, 2), "beta": Box("", -2, 2)})


def _softmax(theta: Any) -> Any:
    """Of real or of complex logits."""
    weights = np.exp(theta)
    return weights / weights.sum(axis=-1, keepdims=True)


def exact_gradient(rho: Array, P: Array, theta: Array, paid: Array) -> Array:
    """The derivatives of the expected reward in the logits, float[H, S, A], by complex steps: no score is involved."""
    step, n = 1e-30, theta.size
    moved = theta + 1j * step * np.eye(n).reshape(n, *theta.shape)
    return np.asarray(submodular.objective(rho, P, _softmax(moved), paid).imag / step).reshape(theta.shape)


def weights_of(values: Array, n_actions: int, how: str, beta: float = 0.0) -> Array:
    """What multiplies the score of each action, [N, H, A].

    ``"paper"``: marginal gains from there on, less a baseline, beta times the value so far; ``"action"``: a baseline
    that looks at the action; ``"released"``: the value of what was visited up to the next state; ``"next"``: the next
    gain alone.
    """
    weights = submodular.future_gains(values, n_actions)
    if how == "released":
        weights[:] = values[:, 1:, None]
    elif how == "next":
        weights[:] = np.diff(values, axis=1)[:, :, None]
    else:
        weights -= beta * values[:, :-1, None] * (np.arange(n_actions) == 0 if how == "action" else 1.0)
    return weights


def _gradient(P: Array, rho: Array, w: Array, cover: Array, theta: Array, beta: Array, *, how: str) -> Trial:
    values, policy = submodular.prefix_values(_cover(cover, len(P)), w), _softmax(theta)
    exact = exact_gradient(rho, P, theta, values[:, -1])
    found = submodular.score_gradient(rho, P, policy, weights_of(values, P.shape[2], how, float(beta)))
    return Trial(float(abs(found - exact).max()), 256 * EPS * values.shape[0])


CORRIDOR: Case = {  # the first action covers a little at once, the second one much a step later
    "P": np.array([[[[1, 0], [0, 1]]] * 2, [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]], float),
    "rho": np.array([1.0, 0.0]),
    "w": np.array([0.25, 1.0]),
    "cover": np.array([[[0, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]], float),
    "theta": np.zeros((2, 2, 2)),
    "beta": np.zeros(()),
}


def _gradient_check(budget: Budget, how: str = "paper") -> Identity:
    return equate(GRADIENTS, partial(_gradient, how=how), budget, hard=[CORRIDOR])


def _released(P: Array, rho: Array, w: Array, cover: Array, theta: Array, beta: Array, *, other: str) -> Trial:
    values, policy = submodular.prefix_values(_cover(cover, len(P)), w), _softmax(theta)
    first, second = (
        submodular.score_gradient(rho, P, policy, weights_of(values, P.shape[2], how)) for how in ("released", other)
    )
    return Trial(float(abs(first - second).max()), 256 * EPS * values.shape[0])


def _released_check(budget: Budget, other: str = "next") -> Identity:
    return equate(GRADIENTS, partial(_released, other=other), budget, hard=[CORRIDOR])


def _ascends(P: Array, rho: Array, w: Array, cover: Array, theta: Array, beta: Array, *, how: str) -> Trial:
    """How much a small step along the direction lowers the expected reward, against nothing."""
    values, policy = submodular.prefix_values(_cover(cover, len(P)), w), _softmax(theta)
    exact = exact_gradient(rho, P, theta, values[:, -1])
    along = submodular.score_gradient(rho, P, policy, weights_of(values, P.shape[2], how))
    return Trial(-float((along * exact).sum()), 0.0, 1e-12)


def _ascends_check(budget: Budget, how: str = "released") -> Inequality:
    return attack(GRADIENTS, partial(_ascends, how=how), budget, hard=[CORRIDOR])


def deterministic(horizon: int, n_states: int, n_actions: int) -> Array:
    """All deterministic policies that know the time and the state, [n, H, S, A]."""
    choices = np.array(list(product(range(n_actions), repeat=horizon * n_states)))
    return np.eye(n_actions)[choices].reshape(-1, horizon, n_states, n_actions)


SHORT = Space(
    {"H": (1, 3), "S": (1, 3), "A": (2, 2), "U": (1, 10), "T": (4, 4)}, PROCESS | COVER | {"own": Box("", 0, 0.5)}
)
SEEN = 1e-3  # of the paths at least pass, under any policy, where there is a choice


def _owned(cover: Array, w: Array, own: Array, horizon: int) -> tuple[Array, Array]:
    """With an item of weight `own` for each pair of time and state alone, so that the curvature may be below 1."""
    cover = _cover(cover, horizon)
    n = cover.shape[0] * cover.shape[1]
    alone = np.eye(n).reshape(*cover.shape[:2], n)
    return np.concatenate([cover, alone], axis=2), np.concatenate([w, np.full(n, own)])


def _stationary(
    P: Array, rho: Array, w: Array, cover: Array, own: Array, *, bound: str, reached: bool = True
) -> Trial | None:
    """A share of the best of any policy, against the worst deterministic policy that no first-order move improves."""
    if reached and submodular.least_visits(rho, P) < SEEN:
        return None
    cover, w = _owned(cover, w, own, len(P))
    paid, c = submodular.prefix_values(cover, w)[:, -1], submodular.curvature(cover, w)
    policies = deterministic(*P.shape[:3])
    if bound in ("additive", "half"):
        ends = submodular.additive_policy(P, cover @ w)[None]
    else:
        ends = policies[submodular.stationary(rho, P, policies, paid, 1e-12)]
    share = {"once": 1 - c, "power": (1 - c) ** len(P), "additive": 1 - c, "half": 1 - c / 2}[bound]
    best, worst = submodular.history_optimum(rho, P, paid), submodular.objective(rho, P, ends, paid).min()
    return Trial(share * best, float(worst), 1e-8)


TRAP: Case = {  # the good second step is not reached, and so not learnt
    "P": np.array([[[[1, 0], [0, 1]]] * 2, [[[1, 0], [1, 0]], [[1, 0], [0, 1]]]], float),
    "rho": np.array([1.0, 0.0]),
    "w": np.array([1.0]),
    "own": np.zeros(()),
    "cover": np.array([[[0], [0]], [[0], [0]], [[0], [1]], [[0], [0]]], float),
}


def detour() -> Case:
    """Ours: three decisions, each taken well for those who mostly come there, and badly for those who rarely do.

    States 0, 1, 2 of the four times are X, Y, Z; stay, m, Z; rest, exit, n; rest, a, b.  Most start in X and may stay
    or go to m; Y goes to m, where one exits or goes to n; Z goes to n, where one takes a or b.  Weights: b 1, of which
    0.5 shared with Z; a 0.55, of which 0.25 shared with Y; exit 0.35, of which 0.125 shared with X; stay 0.25.  Nothing
    shares more than half, so c = 1/2.  For Z, a is worth 0.55 and b 0.5; so for Y, n is worth 0.3 and the exit 0.35;
    so for X, m is worth 0.225 and staying 0.25.  Yet from X over m and n, b is worth 1.
    """
    go = np.eye(3)
    P = np.array(
        [
            [[go[0], go[1]], [go[1], go[1]], [go[2], go[2]]],
            [[go[0], go[0]], [go[1], go[2]], [go[2], go[2]]],
            [[go[0], go[0]], [go[0], go[0]], [go[1], go[2]]],
        ]
    )
    w = np.array([0.125, 0.25, 0.5, 0.125, 0.25, 0.5, 0.25, 0.225, 0.3, 0.5])
    cover = np.zeros((4, 3, 10))  # the first three are shared, the others of X, Y, Z, stay, exit, a and b alone
    for time, state, items in (
        (0, 0, (0, 3)), (0, 1, (1, 4)), (0, 2, (2, 5)), (1, 0, (6,)), (2, 1, (0, 7)), (3, 1, (1, 8)), (3, 2, (2, 9)),
    ):  # fmt: skip
        cover[time, state, list(items)] = 1
    return {"P": P, "rho": np.array([0.9, 0.05, 0.05]), "w": w, "own": np.zeros(()), "cover": cover}


def _stationary_check(budget: Budget, bound: str = "once", reached: bool = True) -> Inequality:
    measure = partial(_stationary, bound=bound, reached=reached)
    return attack(SHORT, measure, budget, hard=[detour(), TRAP, twins()])


def twins() -> Case:
    """Two steps may cover the first one's item again, which alone is worth a little more, or another one each."""
    go = np.eye(2)
    P = np.array([[[go[0], go[0]]] * 2, [[go[0], go[1]]] * 2, [[go[0], go[1]]] * 2])
    cover = np.zeros((4, 2, 5))
    cover[1, 0, 0] = cover[2, 0, [0, 1]] = cover[3, 0, [0, 2]] = cover[2, 1, 3] = cover[3, 1, 4] = 1
    w = np.array([1.0, 0.01, 0.01, 1.0, 1.0])
    return {"P": P, "rho": go[0], "w": w, "own": np.array(0.5), "cover": cover}


MERGE: Case = {  # chance covers one of two items, the paths merge, and the other item is to be covered
    "P": np.array([[[[0.5, 0.5]] * 2] * 2, [[[1, 0]] * 2] * 2, [[[1, 0], [0, 1]]] * 2], float),
    "rho": np.array([1.0, 0.0]),
    "w": np.array([1.0, 1.0]),
    "own": np.zeros(()),
    "cover": np.array([[[0, 0]] * 2, [[1, 0], [0, 1]], [[0, 0]] * 2, [[1, 0], [0, 1]]], float),
}


def _markov(P: Array, rho: Array, w: Array, cover: Array, own: Array, *, certain: bool) -> Trial:
    """The best of any policy against the best that knows the time and the state alone."""
    if certain:
        P, rho = (np.eye(len(rho))[x.argmax(axis=-1)] for x in (P, rho))
    paid = submodular.prefix_values(*_owned(cover, w, own, len(P)))[:, -1]
    markov = submodular.objective(rho, P, deterministic(*P.shape[:3]), paid).max()
    return Trial(submodular.history_optimum(rho, P, paid), float(markov), 1e-12)


def _markov_check(budget: Budget, certain: bool = False) -> Inequality:
    return attack(SHORT, partial(_markov, certain=certain), budget, hard=[MERGE])


BANDITS = Space(
    {"H": (2, 3), "S": (1, 3), "U": (1, 3)},
    {"x": Simplex("HS"), "eps": Box("S", 0, 1), "cover": Box("HSU", 0, 1, step=1), "w": Box("U", 0, 1)},
)


def bandit(eps: Array, cover: Array, x: Array) -> tuple[Array, Array, Array, Array]:
    """First law, transitions, coverage and policy of an ε-bandit process; the last action leads to a state that covers
    nothing, and with ``eps[S]`` the noise depends on the state that is left.

    `x` is [H, S+1]: each step has the same policy in all states.
    """
    H, S, U = cover.shape
    n = S + 1
    noise = np.append(eps, eps[:1])[:, None, None]
    P = np.broadcast_to((1 - noise) * np.eye(n) + noise / n, (H, n, n, n))
    table = np.zeros((H + 1, n, U))
    table[1:, :S] = cover > 0.5
    return np.eye(n)[S], P, table, np.repeat(x[:, None, :], n, axis=1)


def _partials(J: Array, null: int) -> Array:
    """What each action of a step adds to doing nothing in it, float[..., A - 1]."""
    return np.delete(J, null, axis=-1) - J[..., null : null + 1]


def _mixed(x: Array, eps: Array, cover: Array, w: Array, *, anywhere: bool) -> Trial:
    """The largest mixed second derivative between two steps, and of what a step loses by an action, against nothing."""
    rho, P, table, _ = bandit(np.full_like(eps, eps[0]) if anywhere else eps, cover, x)
    x = np.append(0.5 * x, np.full((len(x), 1), 0.5), axis=1)  # inside: half of the time nothing is done
    paid, n = submodular.prefix_values(table, w)[:, -1], x.shape[1]
    worst = -np.inf
    for h, k in combinations(range(len(x)), 2):
        rows = np.array([x] * n**2)
        rows[:, h] = np.repeat(np.eye(n), n, axis=0)
        rows[:, k] = np.tile(np.eye(n), (n, 1))
        J = submodular.objective(rho, P, np.repeat(rows[:, :, None], n, axis=2), paid).reshape(n, n)
        both = _partials(_partials(J, n - 1).T, n - 1)
        worst = max(worst, float(both.max()), -float(_partials(J, n - 1).min()))
    return Trial(worst, 0.0, 64 * EPS * (1 + w.sum()))


def _mixed_check(budget: Budget, anywhere: bool = True) -> Inequality:
    return attack(BANDITS, partial(_mixed, anywhere=anywhere), budget)


def step_gradient(rho: Array, P: Array, x: Array, paid: Array) -> Array:
    """The derivatives of the expected reward in x[H, A], less those of the last action: [H, A - 1]."""
    H, n = x.shape
    weights = np.broadcast_to(paid[:, None, None], (len(paid), H, n))
    g = submodular.entry_gradient(rho, P, np.repeat(x[:, None, :], n, axis=1), weights).sum(axis=1)
    return _partials(g, n - 1)


def _best_sequence(rho: Array, P: Array, paid: Array) -> float:
    """The best of the policies that look at the time alone."""
    H, n = P.shape[:2]
    sequences = np.eye(n)[np.array(list(product(range(n), repeat=H)))]
    return float(submodular.objective(rho, P, np.repeat(sequences[:, :, None], n, axis=2), paid).max())


def _half(x: Array, eps: Array, cover: Array, w: Array, *, factor: float) -> Trial:
    r"""The optimum less the Frank-Wolfe gap of x, against `factor` times J(x): at a stationary point the gap is 0."""
    x = np.append(x, np.zeros((len(x), 1)), axis=1)
    rho, P, table, policy = bandit(np.full_like(eps, eps[0]), cover, x)
    paid = submodular.prefix_values(table, w)[:, -1]
    g = step_gradient(rho, P, x, paid)
    gap = float((np.maximum(g.max(axis=1), 0) - (g * x[:, :-1]).sum(axis=1)).sum())
    value = float(submodular.objective(rho, P, policy, paid))
    return Trial(_best_sequence(rho, P, paid) - gap, factor * value, 64 * EPS * (1 + w.sum()), trivial=float(w.sum()))


STUCK: Case = {  # the first step covers what the second could cover alone: either is worth nothing more
    "x": np.array([[1.0, 0.0], [0.0, 1.0]]),
    "eps": np.zeros(2),
    "cover": np.array([[[1, 0], [0, 1]], [[1, 0], [0, 0]]], float),
    "w": np.ones(2),
}


def _half_check(budget: Budget, factor: float = 2.0) -> Inequality:
    return attack(BANDITS, partial(_half, factor=factor), budget, hard=[STUCK])


ROUNDS = 40  # of Frank-Wolfe


def frank_wolfe(rho: Array, P: Array, paid: Array) -> Array:
    """From doing nothing, `ROUNDS` steps to the vertex of largest derivative: x[H, A]."""
    H, n = P.shape[:2]
    x = np.tile(np.eye(n)[n - 1], (H, 1))
    for _ in range(ROUNDS):
        best = np.eye(n)[step_gradient(rho, P, x, paid).argmax(axis=1)]
        x = x + (best - np.eye(n)[n - 1]) / ROUNDS
    return x


def _greedy(eps: Array, cover: Array, w: Array, *, share: float) -> Trial:
    r"""(1 - 1/e) of the optimum less ours for the size of the steps, :math:`H(H-1)F(V)/2K`, against J.

    Along a step of length 1/K the mixed second derivatives lie in [-F(V), 0], and there are H(H-1) of them.
    """
    rho, P, table, _ = bandit(np.full_like(eps, eps[0]), cover, np.zeros((len(cover), len(eps) + 1)))
    paid = submodular.prefix_values(table, w)[:, -1]
    x, H = frank_wolfe(rho, P, paid), len(cover)
    value = float(submodular.objective(rho, P, np.repeat(x[:, None, :], x.shape[1], axis=1), paid))
    loss = H * (H - 1) * float(table.max(axis=(0, 1)) @ w) / (2 * ROUNDS)
    return Trial(share * _best_sequence(rho, P, paid) - loss, value, 64 * EPS * (1 + w.sum()))


FRANK_WOLFE = Space(BANDITS.sizes, {name: f for name, f in BANDITS.fields.items() if name != "x"})


EAGER: Case = {  # at first both steps go for the same item
    "eps": np.zeros(2),
    "cover": np.array([[[1, 0], [0, 1]], [[1, 0], [0, 0]]], float),
    "w": np.array([1.0, 0.7]),
}


def _greedy_check(budget: Budget, share: float = 1 - np.exp(-1)) -> Inequality:
    return attack(FRANK_WOLFE, partial(_greedy, share=share), budget, hard=[EAGER])


def ascent(case: Case, theta: Array, how: str, rounds: int, step: float) -> tuple[Array, Array]:
    """The expected rewards along exact steps of SubPO from `theta`, float[rounds + 1], and the last logits."""
    P, rho = case["P"], case["rho"]
    values, found = submodular.prefix_values(_cover(case["cover"], len(P)), case["w"]), []
    weights = weights_of(values, P.shape[2], how)
    for _ in range(rounds + 1):
        found.append(float(submodular.objective(rho, P, _softmax(theta), values[:, -1])))
        theta = theta + step * submodular.score_gradient(rho, P, _softmax(theta), weights)
    return np.array(found), theta


STARTS, ASCENT = 40, 1000


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows = plt.figure(figsize=(PAGE, 2.3), layout="constrained"), []
    left, right = fig.subplots(1, 2)
    for how, name in (("paper", "marginal gains from there on"), ("released", "value so far (released program)")):
        reward = ascent(CORRIDOR, np.zeros((2, 2, 2)), how, 60, 1.0)[0]
        left.plot(reward, label=name)
        rows += [{"panel": "corridor", "run": how, "step": t, "reward": x} for t, x in enumerate(reward)]
    left.set(xlabel="steps", ylabel="expected reward", title="a corridor")
    left.legend()
    case, rng = detour(), np.random.default_rng(0)
    for run in range(STARTS):
        reward = ascent(case, rng.normal(0, 2, size=(3, 3, 2)), "paper", ASCENT, 5.0)[0]
        right.plot(1 + np.arange(ASCENT + 1), reward, color="C0", lw=0.6, alpha=0.6)
        rows += [{"panel": "detour", "run": run, "step": t, "reward": x} for t, x in enumerate(reward)]
    paid = submodular.prefix_values(case["cover"], case["w"])[:, -1]
    best = submodular.history_optimum(case["rho"], case["P"], paid)
    for level, name, at in (
        (best, "best", "top"),
        (best * (1 - submodular.curvature(case["cover"], case["w"])), "(1 − c) best", "bottom"),
    ):
        right.axhline(level, color="black", lw=0.8, ls="--")
        right.annotate(name, (ASCENT, level), xytext=(0, -4 if at == "top" else 2), textcoords="offset points",
                       ha="right", va=at, fontsize="small")  # fmt: skip
    right.set(xscale="log", xlabel="steps, and one", title="three decisions, c = 1/2")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "ascent",
        "Left: on a corridor the weights of the released program lead away from the delayed reward. Right: from 40 "
        "random starts, exact policy gradients lead to the best policy or to one below (1 − c) times the best.",
        _draw,
    ),
)

SHARED: dict[str, Any] = {
    "kind": Inequality,
    "premises": (TINY, "every choice is met by some path under every policy"),
}

CLAIMS = (
    claim(
        id="submodular-rl/gradient",
        source="the policy gradient theorem of SubRL",
        statement=r"$\nabla J=E\sum_i\nabla\log\pi(a_i|s_i)"
        r"\big(\sum_{j\ge i}F(s_{j+1}|\tau_{0:j})-b(\tau_{0:i})\big)$.",
        kind=Identity,
        premises=(TINY, "softmax policies", "baselines proportional to the value so far"),
        check=_gradient_check,
        control=partial(_gradient_check, how="action"),
        control_statement="the same with a baseline that looks at the action.",
    ),
    claim(
        id="submodular-rl/released-gradient",
        source="released program (main.py of its repository), where the previous value is no longer taken off",
        statement=r"$\nabla J=E\sum_i\nabla\log\pi(a_i|s_i)F(\tau_{0:i+1})$.",
        kind=Identity,
        premises=(TINY, "softmax policies", "one published version"),
        check=partial(_gradient_check, how="released"),
        control=_gradient_check,
        control_statement="the same with the marginal gains from there on.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="submodular-rl/released-is-myopic",
        source="ours, on the released program",
        statement=r"Its weights have the mean of the next gain alone: "
        r"$E\sum_i\nabla\log\pi(a_i|s_i)F(s_{i+1}|\tau_{0:i})$.",
        kind=Identity,
        premises=(TINY, "softmax policies"),
        check=_released_check,
        control=partial(_released_check, other="paper"),
        control_statement="they have the mean of all gains from there on.",
    ),
    claim(
        id="submodular-rl/released-ascends",
        source="released program (main.py of its repository), as an ascent",
        statement="A small step along the mean of the released weights never lowers the expected reward.",
        kind=Inequality,
        premises=(TINY, "softmax policies", "one published version"),
        check=_ascends_check,
        control=partial(_ascends_check, how="paper"),
        control_statement="a small step along the paper's gradient never does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="submodular-rl/curvature",
        source="the guarantee under bounded curvature as reviews quote it, for all policies at which the gradient ends",
        statement=r"With curvature $c$, where no first-order change improves $\pi$: $J(\pi)\ge(1-c)J(\pi^*)$.",
        check=_stationary_check,
        control=partial(_stationary_check, bound="additive", reached=False),
        control_statement=r"the same for the policy that adds up $F(\{v\})$ over its visits.",
        expected=Outcome.REFUTED,
        **SHARED,
    ),
    claim(
        id="submodular-rl/curvature-power",
        source="ours, corrects the last",
        statement=r"With curvature $c$ and $H$ steps, where no first-order change improves $\pi$: "
        r"$J(\pi)\ge(1-c)^HJ(\pi^*)$.",
        check=partial(_stationary_check, bound="power"),
        control=partial(_stationary_check, bound="power", reached=False),
        control_statement="the same where some choices are met by no path.",
        **SHARED,
    ),
    claim(
        id="submodular-rl/curvature-additive",
        source="ours, on the guarantee under bounded curvature",
        statement=r"The policy that adds up $F(\{v\})$ over its visits has $J(\pi)\ge(1-c)J(\pi^*)$: ordinary dynamic "
        "programming gives it.",
        kind=Inequality,
        premises=(TINY,),
        check=partial(_stationary_check, bound="additive", reached=False),
        control=partial(_stationary_check, bound="half", reached=False),
        control_statement=r"the same with $1-c/2$.",
    ),
    claim(
        id="submodular-rl/time-and-state",
        source="ours, on policies that know more than time and state",
        statement="Where transitions and start are certain, a policy of time and state is as good as any.",
        kind=Inequality,
        premises=(TINY,),
        check=partial(_markov_check, certain=True),
        control=_markov_check,
        control_statement="it is in any process (a chance, a merger, and 3/4 of the best).",
    ),
    claim(
        id="submodular-rl/diminishing",
        source="the property of ε-bandit processes",
        statement="The expected reward is monotone in the probabilities of a time's actions, and has no positive mixed "
        "second derivative between two times.",
        kind=Inequality,
        premises=(BANDIT,),
        check=_mixed_check,
        control=partial(_mixed_check, anywhere=False),
        control_statement="the same where the noise depends on the state that is left.",
    ),
    claim(
        id="submodular-rl/half",
        source="the guarantee for ε-bandit processes, at any point and with its first-order gap",
        statement=r"$J(\pi)\ge\frac12\left(J(\pi^*)-\max_{\pi'}\langle\nabla J(\pi),\pi'-\pi\rangle\right)$; at "
        r"stationary points $J(\pi)\ge\frac12J(\pi^*)$.",
        kind=Inequality,
        premises=(BANDIT, r"$\pi^*$ best among them"),
        check=_half_check,
        control=partial(_half_check, factor=1.9),
        control_statement="the same with 1/1.9.",
    ),
    claim(
        id="submodular-rl/frank-wolfe",
        source="the guarantee for ε-bandit processes by Frank-Wolfe, with our bound on what its steps lose",
        statement=r"After $K$ Frank-Wolfe steps from doing nothing "
        r"$J\ge(1-\frac1e)J(\pi^*)-\frac{H(H-1)F(V)}{2K}$.",
        kind=Inequality,
        premises=(BANDIT, f"exact gradients, K = {ROUNDS}"),
        check=_greedy_check,
        control=partial(_greedy_check, share=1.0),
        control_statement=r"the same with 1 in place of $1-1/e$.",
    ),
)
