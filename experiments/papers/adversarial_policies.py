r"""Rethinking adversarial policies: an attacker that deviates with probability ε, and a victim that trains against it.

The attacker plays :math:`\tilde\pi=(1-\varepsilon)\hat\pi+\varepsilon\pi`.  The abstract and the reviews say what the
propositions bound (the policy, the law of states, the dynamics that the victim meets) but not their constants; the
constants here are ours.  They follow by coupling: both processes are the same until the attacker first deviates, which
it has not done in t steps with probability :math:`(1-\varepsilon)^t`.  Hence

.. math:: \|d^{\tilde\pi}-d^{\hat\pi}\|_1\le2(1-\gamma)\sum_t\gamma^t\left(1-(1-\varepsilon)^t\right)
   =\frac{2\gamma\varepsilon}{1-\gamma+\gamma\varepsilon},\qquad
   |V^{\tilde\pi}-V^{\hat\pi}|\le\sum_t\gamma^t\frac{\varepsilon(1-\varepsilon)^t}{1-\gamma}
   =\frac{\varepsilon}{(1-\gamma)(1-\gamma+\gamma\varepsilon)}

for rewards in [0, 1].  Training is judged where the exact inner minimum is at hand, in one state; that its rate in
many states is polynomial holds relative to a mismatch of laws that may be exponential, and is not judged.
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps import MarkovGame, solve_game, solve_matrix_game
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Inequality
from claimlab.theory.falsify import Trial, Trials, attack
from claimlab.theory.group_relative import project
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="adversarial-policies",
    title="Rethinking Adversarial Policies: A Generalized Attack Formulation and Provable Defense in RL",
    authors="Xiangyu Liu, Souradip Chakraborty, Yanchao Sun, Furong Huang",
    venue="ICLR 2024",
    arxiv="2305.17342",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

FIXED = "a fixed victim: two chains of up to four states, the attacker as before and as it deviates"
GAMES = "zero-sum games of up to three states, the attacker's own policy and the rewards at random"

CHAINS = Space(
    {"S": (1, 4)},
    {
        "before": Simplex("SS"), "deviating": Simplex("SS"), "mu": Simplex("S"), "r": Box("S", 0, 1),
        "r_deviating": Box("S", 0, 1), "gamma": Box("", 0, 0.99), "eps": Box("", 0, 1),
    },
)  # fmt: skip
SINK: Case = {  # one deviation, and nothing is as before
    "before": np.eye(2), "deviating": np.array([[0.0, 1.0], [0.0, 1.0]]), "mu": np.array([1.0, 0.0]),
    "r": np.array([1.0, 0.0]), "r_deviating": np.zeros(2), "gamma": np.array(0.9), "eps": np.array(0.1),
}  # fmt: skip


def occupancy(P: Array, mu: Array, gamma: Array) -> Array:
    """The discounted law of states, float[..., S]."""
    matrix = np.eye(P.shape[-1]) - gamma[..., None, None] * np.swapaxes(P, -1, -2)
    return np.asarray((1 - gamma[..., None]) * np.linalg.solve(matrix, mu[..., None])[..., 0])


def _occupancies(
    before: Array, deviating: Array, mu: Array, r: Array, r_deviating: Array, gamma: Array, eps: Array,
    *, share: float, rewarded: bool,
) -> Trials:  # fmt: skip
    e = eps[..., None, None]
    after = (1 - e) * before + e * deviating
    first, second = occupancy(before, mu, gamma), occupancy(after, mu, gamma)
    rest = 1 - gamma + gamma * eps
    rounding = 4096 * EPS / (1 - gamma)
    if not rewarded:
        bound = share * 2 * gamma * eps / rest
        return Trials(abs(first - second).sum(axis=-1), bound, rounding, trivial=2.0)
    e = eps[..., None]
    gap = (first * r).sum(axis=-1) - (second * ((1 - e) * r + e * r_deviating)).sum(axis=-1)
    bound = share * eps / ((1 - gamma) * rest)
    return Trials(abs(gap) / (1 - gamma), bound, rounding / (1 - gamma), trivial=1 / (1 - gamma))


def _occupancy_check(budget: Budget, share: float = 1.0, rewarded: bool = False) -> Inequality:
    measure = partial(_occupancies, share=share, rewarded=rewarded)
    return attack(CHAINS, measure, budget.with_instances(5 * budget.instances), batched=True, hard=[SINK])


STEPS = 5


def _paths(before: Array, deviating: Array, mu: Array, eps: Array, *, bound: str) -> Trial:
    """The total variation of the laws of `STEPS` moves, by enumeration, against the chance of a deviation."""
    after = (1 - eps) * before + eps * deviating
    first, second = mu, mu
    for _ in range(STEPS):
        first, second = first[..., None] * before, second[..., None] * after
        S = len(mu)
        first, second = first.reshape(-1, S, S), second.reshape(-1, S, S)
        first, second = (x.reshape(-1, S) for x in (first, second))
    variation = abs(first - second).sum() / 2
    known = {"any": 1 - (1 - eps) ** STEPS, "one": eps}[bound]
    return Trial(float(variation), float(known), 1e-12, trivial=1.0)


PATHS = Space(
    {"S": (1, 3)},
    {"before": Simplex("SS"), "deviating": Simplex("SS"), "mu": Simplex("S"), "eps": Box("", 0, 1)},
)


def _paths_check(budget: Budget, bound: str = "any") -> Inequality:
    hard = {name: SINK[name] for name in PATHS.fields}
    return attack(PATHS, partial(_paths, bound=bound), budget, hard=[hard])


GAME = Space(
    {"S": (1, 3), "A": (2, 2), "B": (2, 2)},
    {
        "P": Simplex("SABS"), "r": Box("SAB", 0, 1), "attacker": Simplex("SB"), "gamma": Box("", 0, 0.9),
        "eps": Box("", 0, 1), "less": Box("", 0, 1),
    },
)  # fmt: skip


def robust_values(P: Array, r: Array, attacker: Array, gamma: float, eps: float) -> tuple[Array, float]:
    """The most that the victim can secure against deviations of probability `eps`, float[S], and its certified error.

    The attacker mixes, so this is a game: payments and moves are those of the attacker's own policy with probability
    1 - ε.
    """
    own_r = np.einsum("sab,sb->sa", r, attacker)[:, :, None]
    own_P = np.einsum("sabt,sb->sat", P, attacker)[:, :, None]
    game = MarkovGame((1 - eps) * own_P + eps * P, (1 - eps) * own_r + eps * r, gamma)
    solution = solve_game(game, tol=1e-9, threads=1)
    return solution.v, solution.error


def _budgets(P: Array, r: Array, attacker: Array, gamma: Array, eps: Array, less: Array, *, rises: bool) -> Trial:
    """What a larger chance of deviating adds to the victim's value, against nothing; or takes from it."""
    low, high = sorted((float(less), float(eps)))
    (v, e), (u, f) = (robust_values(P, r, attacker, float(gamma), x) for x in (low, high))
    return Trial(float((v - u if rises else u - v).max()), 0.0, e + f)


def _budgets_check(budget: Budget, rises: bool = False) -> Inequality:
    few = budget.with_instances(min(budget.instances // 2, 300))  # two games each
    return attack(GAME, partial(_budgets, rises=rises), few)


ROUNDS = 200
MATRICES = Space({"A": (2, 3), "B": (2, 3)}, {"M": Box("AB", -1, 1)})
PENNIES: Case = {"M": np.array([[1.0, -1.0], [-1.0, 1.0]])}


def train(M: Array, x: Array, y: Array, rounds: int, step: float, ratio: float) -> Array:
    """What the victim secures, min_b (M'x)_b, after each round of projected gradients; float[rounds + 1].

    The attacker takes `ratio` times the victim's step, or with ``inf`` the best response.
    """
    secured = [float((M.T @ x).min())]
    for _ in range(rounds):
        against = np.eye(y.size)[(M.T @ x).argmin()] if np.isinf(ratio) else y
        x, y = project(x + step * (M @ against)), project(y - step * min(ratio, 1e9) * (M.T @ x))
        secured.append(float((M.T @ x).min()))
    return np.array(secured)


def _training(M: Array, *, ratio: float, last: bool) -> Trial:
    r"""What the victim's policy loses, against :math:`DG/\sqrt{K}`: policies are √2 apart, subgradients at most √A."""
    A, B = M.shape
    best = solve_matrix_game(M)
    bound = np.sqrt(2 * A / ROUNDS)
    secured = train(M, np.eye(A)[0], np.eye(B)[0], ROUNDS, np.sqrt(2 / (A * ROUNDS)), ratio)[:-1]
    lost = best.value - (secured[-1] if last else secured.max())
    return Trial(float(lost), float(bound), best.error + 1e-12, trivial=2.0)


def _training_check(budget: Budget, ratio: float = np.inf, last: bool = False) -> Inequality:
    few = budget.with_instances(min(budget.instances, 400))
    return attack(MATRICES, partial(_training, ratio=ratio, last=last), few, hard=[PENNIES])


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows = plt.figure(figsize=(PAGE, 2.3), layout="constrained"), []
    left, right = fig.subplots(1, 2)
    rng, eps, gamma = np.random.default_rng(0), np.linspace(0, 1, 101), np.full(101, 0.9)
    left.plot(eps, 2 * gamma * eps / (1 - gamma + gamma * eps), color="black", ls="--", label="bound (attained)")
    for run in range(40):
        before, deviating = rng.dirichlet([0.2, 0.2, 0.2], size=(2, 3))
        after = before + eps[:, None, None] * (deviating - before)
        mu = np.tile(np.eye(3)[0], (101, 1))
        moved = abs(occupancy(after, mu, gamma) - occupancy(np.tile(before, (101, 1, 1)), mu, gamma)).sum(axis=1)
        left.plot(eps, moved, color="C0", lw=0.6, alpha=0.6)
        rows += [{"panel": "law of states", "run": run, "x": x, "y": y} for x, y in zip(eps, moved)]
    left.set(xlabel="chance of a deviation ε", ylabel="change of the law of states", title="γ = 0.9")
    left.set_ylim(0, 2.3)
    left.legend(fontsize="small")
    names = {np.inf: "best response", 10.0: "ten times the step", 1.0: "the same step"}
    for ratio, name in names.items():
        secured = train(PENNIES["M"], np.array([1.0, 0.0]), np.array([1.0, 0.0]), ROUNDS, 0.05, ratio)
        right.plot(secured, label=f"attacker: {name}", lw=0.9)
        rows += [{"panel": "training", "run": name, "x": t, "y": y} for t, y in enumerate(secured)]
    right.set(xlabel="rounds", ylabel="what the victim secures", title="matching pennies", ylim=(-1.9, 0.1))
    right.legend(fontsize="small", loc="lower right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "deviations",
        "Left: how far a deviating attacker moves the law of states, random chains and our bound. Right: what the last "
        "policy of a victim in training secures.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="adversarial-policies/law-of-states",
        source="the proposition on the law of states; constant ours",
        statement=r"$\|d^{\tilde\pi}-d^{\hat\pi}\|_1\le2\gamma\varepsilon/(1-\gamma+\gamma\varepsilon)$.",
        kind=Inequality,
        premises=(FIXED,),
        check=_occupancy_check,
        control=partial(_occupancy_check, share=0.95),
        control_statement="the same with 95 % of the bound.",
    ),
    claim(
        id="adversarial-policies/value",
        source="ours, what the proposition on the law of states means for the victim",
        statement=r"$|V^{\tilde\pi}-V^{\hat\pi}|\le\varepsilon/((1-\gamma)(1-\gamma+\gamma\varepsilon))$.",
        kind=Inequality,
        premises=(FIXED, "rewards in [0, 1], of states and of whether the attacker deviates"),
        check=partial(_occupancy_check, rewarded=True),
        control=partial(_occupancy_check, rewarded=True, share=0.9),
        control_statement="the same with 90 % of the bound.",
    ),
    claim(
        id="adversarial-policies/stealth",
        source="abstract: ε controls how stealthy the attack is; form and constant ours",
        statement=r"The laws of $T$ moves differ by at most $1-(1-\varepsilon)^T$ in total variation.",
        kind=Inequality,
        premises=(FIXED, f"T = {STEPS}"),
        check=_paths_check,
        control=partial(_paths_check, bound="one"),
        control_statement=r"they differ by at most $\varepsilon$, as the policies do.",
    ),
    claim(
        id="adversarial-policies/larger-budgets",
        source="ours, on the formulation: a larger ε can play as a smaller one",
        statement=r"The most that a victim can secure does not rise with $\varepsilon$.",
        kind=Inequality,
        premises=(GAMES,),
        check=_budgets_check,
        control=partial(_budgets_check, rises=True),
        control_statement="it does not fall.",
    ),
    claim(
        id="adversarial-policies/training",
        source="the algorithm with an inner minimum, in one state; rate of projected subgradients, constant ours",
        statement=r"After $K$ rounds the best policy so far loses at most $\sqrt{2A/K}$.",
        kind=Inequality,
        premises=(f"matrix games with payments in [-1, 1], K = {ROUNDS}", "attacker: best response"),
        check=_training_check,
        control=partial(_training_check, ratio=1.0, last=True),
        control_statement="the last policy does, where both take steps of the same size.",
    ),
)
