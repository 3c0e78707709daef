r"""The coefficient of offline-to-online learning: closed form in bandits, and what follows from its definition."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.ftpedel.common import DETERMINISTIC, TABULAR, claim
from claimlab.mdps.coverage import Design, o2o_coefficient, o2o_episodes
from claimlab.mdps.staged import StagedMDP, staged_occupancy
from claimlab.mdps.tabular import EPS as ULP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

BANDITS = Space(
    {"A": (1, 8)},
    {"r": Box("A", 0, 1), "n": Box("A", 0, 200, step=1), "eps": Box("", 0.05, 0.5), "beta": Box("", 1, 20)},
)
SMALL = Space(
    {"S": (1, 2), "A": (1, 3)},
    {
        "P": Simplex("SAS"),
        "r": Box("SA", 0, 1),
        "mu": Simplex("SA"),
        "n": Box("", 1, 2000),
        "eps": Box("", 0.1, 0.8),
        "T": Box("", 10, 2000),
    },
)
PROGRAMS = 60  # instances of a claim that solves cone programs, at most, at the smoke budget


def bandit(r: Array) -> StagedMDP:
    return StagedMDP(np.ones((1, 1, len(r), 1)), r[None, None])


def two_steps(P: Array, r: Array) -> StagedMDP:
    """The same transitions twice; reward at the second step only, so that prefixes and gaps differ."""
    return StagedMDP(np.stack([P, P]), np.stack([0 * r, r]))


def few(budget: Budget) -> Budget:
    return budget.with_instances(min(budget.instances, {"smoke": PROGRAMS, "standard": 400}.get(budget.name, 4_000)))


def bandit_episodes(r: Array, n: Array, eps: float, beta: float) -> float:
    r"""Ours: :math:`T_{o2o}=\sum_a[\beta/(\Delta_a\vee\epsilon)^2-N_a]_+`, as each pull serves one arm."""
    return float(np.maximum(beta / np.maximum(r.max() - r, eps) ** 2 - n, 0).sum())


def _closed_form(r: Array, n: Array, eps: Array, beta: Array, *, forget: bool) -> Trial:
    """The program's interval against the closed form, relative to one more than it."""
    design = o2o_episodes(bandit(r), 0, float(eps), float(beta), 0 * n[None] if forget else n[None], tol=1e-7)
    exact = bandit_episodes(r, n, float(eps), float(beta))
    off = max(exact - design.value, design.lower - exact, 0.0) + max(design.gap - 1e-5 * (1 + exact), 0.0)
    return Trial(off / (1 + exact), 1e-9)


def _closed_form_check(budget: Budget, forget: bool = False) -> Identity:
    return equate(BANDITS, partial(_closed_form, forget=forget), few(budget))


def _saving(P: Array, r: Array, mu: Array, n: Array, eps: Array, T: Array, *, side: str) -> Trial:
    """T(0) - n <= T(n) <= T(0) for offline covariates of n episodes of a policy."""
    mdp, beta = two_steps(P, r), 8.0
    w = staged_occupancy(mdp, np.broadcast_to(mu, mdp.r.shape))[1]
    without = o2o_episodes(mdp, 1, float(eps), beta)
    data = o2o_episodes(mdp, 1, float(eps), beta, float(n) * w)
    if side == "at most":  # one offline episode saves one online episode at most
        return Trial(without.lower, data.value + float(n), 0.0)
    if side == "half":
        return Trial(without.lower, data.value + 0.5 * float(n), 0.0)
    return Trial(data.lower, without.value, 0.0)


def _saving_check(budget: Budget, side: str) -> Inequality:
    same = {"P": np.ones((1, 2, 1)), "r": np.array([[1.0, 1.0]]), "mu": np.array([[0.5, 0.5]])}
    hard = [same | {"n": np.array(300.0), "eps": np.array(0.2), "T": np.array(100.0)}]
    return attack(SMALL, partial(_saving, side=side), few(budget), hard=hard)


def _antitone(P: Array, r: Array, mu: Array, n: Array, eps: Array, T: Array, *, reverse: bool) -> Trial:
    """More data never raise the coefficient."""
    mdp = two_steps(P, r)
    w = float(n) * staged_occupancy(mdp, np.broadcast_to(mu, mdp.r.shape))[1]
    more, less = (o2o_coefficient(mdp, 1, float(eps), float(T), x) for x in (w, 0 * w))
    return Trial(less.lower, more.value) if reverse else Trial(more.lower, less.value)


def _antitone_check(budget: Budget, reverse: bool = False) -> Inequality:
    return attack(SMALL, partial(_antitone, reverse=reverse), few(budget))


def _convex(P: Array, r: Array, mu: Array, n: Array, eps: Array, T: Array, *, reverse: bool) -> Trial:
    """C at the middle of T and 3 T against the mean of its ends."""
    mdp = two_steps(P, r)
    w = float(n) * staged_occupancy(mdp, np.broadcast_to(mu, mdp.r.shape))[1]
    first, middle, last = (o2o_coefficient(mdp, 1, float(eps), k * float(T), w) for k in (1, 2, 3))
    if reverse:
        return Trial((first.lower + last.lower) / 2, middle.value)
    return Trial(middle.lower, (first.value + last.value) / 2)


def _convex_check(budget: Budget, reverse: bool = False) -> Inequality:
    return attack(SMALL, partial(_convex, reverse=reverse), few(budget))


def _scaling(P: Array, r: Array, mu: Array, n: Array, eps: Array, T: Array, *, power: float) -> Trial:
    """Without offline data C(T) = C(1) / T, within the certificates of both."""
    mdp = two_steps(P, r)
    one, many = o2o_coefficient(mdp, 1, float(eps), 1.0), o2o_coefficient(mdp, 1, float(eps), float(T))
    scale = float(T) ** power
    apart = max(many.lower * scale - one.value, one.lower - many.value * scale, 0.0)
    return Trial(apart / one.value, 1e-12)


def _scaling_check(budget: Budget, power: float = 1.0) -> Identity:
    return equate(SMALL, partial(_scaling, power=power), few(budget))


GRID = {"smoke": 41, "standard": 81}  # values of T, besides the edges between them


def _binding(design: Design) -> frozenset[tuple[float, ...]]:
    """The policies that hold a design back, by their occupancies."""
    kept = design.weights > 1e-4 * design.weights.max()
    return frozenset(map(tuple, design.targets[kept].round(9).tolist()))


def dense(mdp: StagedMDP, eps: float, offline: Array, grid: Array, betas: Array) -> list[Design]:
    r"""Designs on a grid of T and at its edges: where other policies bind, and at :math:`T_{o2o}` of each beta."""

    def at(T: float) -> Design:
        return o2o_coefficient(mdp, 1, eps, T, offline)

    enough = [o2o_episodes(mdp, 1, eps, float(beta), offline).value for beta in betas]
    found = {T: at(T) for T in sorted({*grid.tolist(), *(T for T in enough if T > 0)})}
    for low, high in list(pairwise(found)):
        if _binding(found[low]) != _binding(found[high]):
            for _ in range(6):  # bisect in the logarithm, to a 64th of the step
                middle = float(np.sqrt(low * high))
                found[middle] = at(middle)
                low, high = (low, middle) if _binding(found[middle]) != _binding(found[low]) else (middle, high)
    return [found[T] for T in sorted(found)]


def _shape(P: Array, r: Array, mu: Array, n: Array, eps: Array, T: Array, *, points: int, logarithmic: bool) -> Trial:
    """The largest ratio of: C to its value before, to the chord of its neighbours, and T C to its value after."""
    mdp = two_steps(P, r)
    w = float(n) * staged_occupancy(mdp, np.broadcast_to(mu, mdp.r.shape))[1]
    grid = np.geomspace(float(T) / 100, 100 * float(T), points)
    found = dense(mdp, float(eps), w, grid, np.array([1.0, 8.0, 64.0]))
    low, high = np.array([x.lower for x in found]), np.array([x.value for x in found])
    size = np.array([x.episodes for x in found])
    x = np.log(size) if logarithmic else size
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    pairs = [
        (low[1:], high[:-1]),
        (low[1:-1], (1 - share) * high[:-2] + share * high[2:]),
        ((low * size)[:-1], (high * size)[1:]),
    ]
    trials = [Trial(a, b, 64 * ULP * b) for value, bound in pairs for a, b in zip(value.tolist(), bound.tolist())]
    return max(trials, key=lambda trial: trial.ratio)


def _shape_check(budget: Budget, logarithmic: bool = False) -> Inequality:
    instances = {"smoke": 6, "standard": 40}.get(budget.name, 400)
    same = {"P": np.ones((1, 2, 1)), "r": np.array([[1.0, 0.7]]), "mu": np.array([[0.5, 0.5]])}
    hard = [same | {"n": np.array(300.0), "eps": np.array(0.2), "T": np.array(100.0)}]
    measure = partial(_shape, points=GRID.get(budget.name, 161), logarithmic=logarithmic)
    return attack(SMALL, measure, budget.with_instances(instances), hard=hard)


def _inverse(P: Array, r: Array, mu: Array, n: Array, eps: Array, T: Array, *, power: float) -> Trial:
    r"""C at :math:`T_{o2o}(\beta)` against :math:`1/\beta`, at both ends of the certificate, for beta = T / 10."""
    mdp, beta = two_steps(P, r), float(T) / 10
    w = float(n) * staged_occupancy(mdp, np.broadcast_to(mu, mdp.r.shape))[1]
    needed = o2o_episodes(mdp, 1, float(eps), beta, w)
    if needed.lower <= 0:  # the log alone is enough
        return Trial(0.0, 1e-12)
    enough, short = (o2o_coefficient(mdp, 1, float(eps), x, w) for x in (needed.value, needed.lower))
    level = beta**-power
    return Trial(max(enough.lower - level, level - short.value, 0.0) / level, 1e-12)


def _inverse_check(budget: Budget, power: float = 1.0) -> Identity:
    return equate(SMALL, partial(_inverse, power=power), few(budget))


def _mixing(r: Array, eps: Array, *, most: float) -> Trial:
    """All policies against deterministic ones, in a bandit."""
    mdp, beta = bandit(r), 8.0
    every = o2o_episodes(mdp, 0, float(eps), beta, mixtures=True)
    pure = o2o_episodes(mdp, 0, float(eps), beta)
    return Trial(every.lower, most * pure.value)


def _mixing_steps(P: Array, r: Array, eps: Array, *, most: float) -> Trial:
    """The same in MDPs of two steps."""
    mdp = two_steps(P, r)
    every = o2o_episodes(mdp, 1, float(eps), 8.0, mixtures=True)
    return Trial(every.lower, most * o2o_episodes(mdp, 1, float(eps), 8.0).value)


def _mixing_steps_check(budget: Budget, most: float = 4.0) -> Inequality:
    r"""Four is proved: a mixture :math:`(1-t)\phi_i + t\phi_j` with the gap :math:`\epsilon` has the norm
    :math:`\sqrt\beta\|\cdot\| \le (1-t)\epsilon + t\Delta_j = \epsilon + (1-t)(\epsilon-\Delta_i) \le 2\epsilon`.
    """
    space = Space(
        {"S": (1, 3), "A": (2, 3)}, {"P": Simplex("SAS"), "r": Box("SA", 0, 1), "eps": Box("", 0.05, 0.5)}
    )  # fmt: skip
    hard = [{"P": np.ones((1, 5, 1)), "r": FIVE["r"][None], "eps": FIVE["eps"]}]
    return attack(space, partial(_mixing_steps, most=most), few(budget), hard=hard)


FIVE = {"r": np.array([1.0, 0.9, 0.7, 0.5, 0.1]), "eps": np.array(0.2)}  # of the research notes


def _mixing_check(budget: Budget, most: float = 2.0) -> Inequality:
    space = Space({"A": (2, 5)}, {"r": Box("A", 0, 1), "eps": Box("", 0.05, 0.5)})
    return attack(space, partial(_mixing, most=most), few(budget), hard=[FIVE])


CLAIMS = (
    claim(
        id="ftpedel/bandit-closed-form",
        source="ours, on the definition of the coefficient",
        statement=r"In a bandit $T_{o2o}=\sum_a[\beta/(\Delta_a\vee\epsilon)^2-N_a]_+$.",
        kind=Identity,
        premises=("one state, one step", DETERMINISTIC, "certified to a relative 1e-5"),
        check=_closed_form_check,
        control=partial(_closed_form_check, forget=True),
        control_statement=r"the same for the program that forgets the offline counts.",
    ),
    claim(
        id="ftpedel/saves-at-most-one",
        source="ours, on the definition of the coefficient",
        statement=r"An offline episode saves at most one online episode a step: $T_{o2o}(0)-n\le T_{o2o}(n)$.",
        kind=Inequality,
        premises=(TABULAR, "offline covariates of $n$ episodes of a policy", DETERMINISTIC),
        check=partial(_saving_check, side="at most"),
        control=partial(_saving_check, side="half"),
        control_statement="it saves at most half of one.",
    ),
    claim(
        id="ftpedel/never-hurts",
        source="ours, on the definition of the coefficient",
        statement=r"Offline data never raise the number: $T_{o2o}(n)\le T_{o2o}(0)$.",
        kind=Inequality,
        premises=(TABULAR, "offline covariates of $n$ episodes of a policy", DETERMINISTIC),
        check=partial(_saving_check, side="helps"),
        control=partial(_saving_check, side="half"),
        control_statement=r"it saves at most half an online episode for each: $T_{o2o}(0)-\frac n2\le T_{o2o}(n)$.",
    ),
    claim(
        id="ftpedel/antitone",
        source="ours, on the definition of the coefficient",
        statement=r"$C_{o2o}(T)$ falls with the offline covariance.",
        kind=Inequality,
        premises=(TABULAR, DETERMINISTIC),
        check=_antitone_check,
        control=partial(_antitone_check, reverse=True),
        control_statement="it rises with it.",
    ),
    claim(
        id="ftpedel/convex",
        source="ours, on the definition of the coefficient",
        statement=r"$C_{o2o}$ is convex in $T$: $C(2T)\le\frac{C(T)+C(3T)}{2}$.",
        kind=Inequality,
        premises=(TABULAR, DETERMINISTIC),
        check=_convex_check,
        control=partial(_convex_check, reverse=True),
        control_statement="it is concave.",
    ),
    claim(
        id="ftpedel/shape-on-a-grid",
        source="ours, on the definition of the coefficient",
        statement=r"$C_{o2o}$ falls and is convex in $T$, and $T\,C_{o2o}(T)$ rises, between all neighbours of a dense "
        r"grid of $T$ over four decades and of its edges.",
        kind=Inequality,
        premises=(
            TABULAR,
            DETERMINISTIC,
            f"{GRID['smoke']} values of $T$ or more",
            r"edges: where other policies bind, bisected, and $T_{o2o}(\beta)$ for $\beta$ of 1, 8 and 64",
        ),
        check=_shape_check,
        control=partial(_shape_check, logarithmic=True),
        control_statement=r"the same, convex in $\log T$.",
    ),
    claim(
        id="ftpedel/coefficient-inverse",
        source="ours, on the definition of the coefficient",
        statement=r"Where the log alone is not enough, $C_{o2o}(T_{o2o}(\beta))=1/\beta$.",
        kind=Identity,
        premises=(TABULAR, DETERMINISTIC, "within both certificates"),
        check=_inverse_check,
        control=partial(_inverse_check, power=0.99),
        control_statement=r"$C_{o2o}(T_{o2o}(\beta))=\beta^{-0.99}$.",
    ),
    claim(
        id="ftpedel/scaling",
        source="ours, on the definition of the coefficient",
        statement=r"Without offline data $C_{o2o}(T)=C_{o2o}(1)/T$, hence $T_{o2o}=\beta\,C_{o2o}(1)$.",
        kind=Identity,
        premises=(TABULAR, DETERMINISTIC, "within both certificates"),
        check=_scaling_check,
        control=partial(_scaling_check, power=0.99),
        control_statement=r"$C_{o2o}(T)=C_{o2o}(1)/T^{0.99}$.",
    ),
    claim(
        id="ftpedel/mixtures-at-most-double",
        source="ours, on the maximum over policies",
        statement="In a bandit the maximum over all policies asks for at most twice the episodes of that over "
        "deterministic ones.",
        kind=Inequality,
        premises=("one state, one step",),
        check=_mixing_check,
        control=partial(_mixing_check, most=1.02),
        control_statement="for at most two percent more: deterministic policies decide the maximum.",
    ),
    claim(
        id="ftpedel/mixtures-at-most-fourfold",
        source="ours, on the maximum over policies",
        statement="In any MDP the maximum over all policies asks for at most four times the episodes of that over "
        "deterministic ones.",
        kind=Inequality,
        premises=(TABULAR, "no offline data"),
        check=_mixing_steps_check,
        control=partial(_mixing_steps_check, most=1.02),
        control_statement="for at most two percent more: deterministic policies decide the maximum.",
    ),
)
