"""The adaptive Neyman-Pearson lemma: static, adaptive, tight, composed, and which of its premises it needs."""

from __future__ import annotations

from functools import partial
from math import sqrt

import mpmath
import numpy as np
from scipy.special import ndtr

from claimlab.checks import Array
from claimlab.experiments.papers.policy_smoothing.common import (
    ADAPTIVE,
    CERTIFICATE,
    SMOOTHED,
    certificate,
    claim,
    surviving,
)
from claimlab.mdps.smoothed_games import SmoothedGame, best_attack, middle_game, tree_game
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.smoothing import certified_probability
from claimlab.theory.spaces import Box, Case, Space

LEVELS = 16  # units of squared budget of the adversary in a search: it is exact for what it may do
SHIFT = Box("", 0.05, 3)  # B / sigma


# The static lemma


def _half_space(budget: Budget, *, power: int) -> Identity:
    """Half-spaces z > -c with the very `p` that the floats hold, shifted by b in 60 digits, against the certificate."""
    worst, instances, witness = -1.0, 0, {}
    with mpmath.workdps(60):
        for c in map(mpmath.mpf, (-27, -10, -3, -1, 0, 1, 3, 6)):
            p = float(mpmath.ncdf(c))
            for _ in range(2):  # Newton's steps to the c of that rounded p
                c -= (mpmath.ncdf(c) - p) / mpmath.npdf(c)
            for b in (0.01, 0.5, 1, 3, 10):
                exact, density = mpmath.ncdf(c - b), float(mpmath.npdf(c - b))
                stated = float(certified_probability(p, b**power, 1.0))
                # Phi^{-1} and Phi have relative errors of a few EPS; in the tail Phi multiplies that of its argument
                slack = 16 * EPS * (density * (1 + abs(float(c)) + b) + float(exact))
                found = float(abs(stated - exact)) / slack
                instances += 1
                if found > worst:
                    worst, witness = found, {"c": float(c), "b": b, "stated": stated, "exact": float(exact)}
    return Identity(worst, 1.0, instances, "float", witness)


def _tests_of_one_step(cuts: Array, leaves: Array, b: float, *, factor: float) -> Trial:
    """One step, five intervals: the mass of a test after a shift by b against the bound."""
    game = tree_game(np.sort(cuts)[None], leaves)
    p, error = game.value(), game.rounding
    kept, slack = certificate(p, factor * float(b), error)
    return Trial(float(kept), min(game.value(float(b)), game.value(-float(b))), float(slack) + error, p)


def _tests_check(budget: Budget, factor: float = 1.0) -> Inequality:
    space = Space({"C": (4, 4), "L": (5, 5)}, {"cuts": Box("C", -3, 3), "leaves": Box("L", 0, 1), "b": SHIFT})
    half = {"cuts": np.array([-3.0, -2.0, -1.0, 1.0]), "leaves": np.array([0.0, 0, 0, 1, 1]), "b": np.array(1.0)}
    return attack(space, partial(_tests_of_one_step, factor=factor), budget, hard=[half])


# Adaptive adversaries


def _tree(cuts: Array, leaves: Array, b: float, *, factor: float) -> Trial:
    game = tree_game(np.sort(cuts, axis=1), leaves)
    p, error = game.value(), game.rounding
    kept, slack = certificate(p, factor * float(b), error)
    return Trial(float(kept), best_attack(game, float(b), LEVELS).value, float(slack) + error, p)


def xor_case(m: float, b: float) -> Case:
    """The XOR game among games of two steps with three actions: the middle interval is empty."""
    cuts = np.array([[0.0, 0.0], [m, m], [0.0, 0.0], [-m, -m]])
    return {"cuts": cuts, "leaves": np.array([1.0, 1, 0, 0, 0, 0, 0, 1, 1]), "b": np.array(b)}


def gated_case(b: float) -> Case:
    """The second number counts only if the first lies in the middle."""
    cuts = np.array([[-1.0, 1.0], [0.0, 0.0], [-1.0, -1.0], [0.0, 0.0]])
    return {"cuts": cuts, "leaves": np.array([0.0, 0, 0, 0, 1, 1, 1, 1, 1]), "b": np.array(b)}


def _tree_check(budget: Budget, factor: float = 1.0) -> Inequality:
    fields = {"cuts": Box("NC", -3, 3), "leaves": Box("L", 0, 1), "b": SHIFT}
    space = Space({"N": (4, 4), "C": (2, 2), "L": (9, 9)}, fields)
    hard = [xor_case(1.0, 1.0), xor_case(2.0, 1.0), gated_case(1.0)]
    return attack(space, partial(_tree, factor=factor), budget, hard=hard)


def _walk(horizon: float, gap: float, b: float, *, factor: float) -> Trial:
    game = surviving(middle_game(int(horizon), gap=float(gap)))
    p, error = game.value(), game.rounding
    kept, slack = certificate(p, factor * float(b), error)
    return Trial(float(kept), best_attack(game, float(b), LEVELS).value, float(slack) + error, p)


def _walk_check(budget: Budget, factor: float = 1.0) -> Inequality:
    fields = {"horizon": Box("", 4, 30, step=1), "gap": Box("", 0, 3), "b": SHIFT}
    hard = [{"horizon": np.array(float(T)), "gap": np.array(1.0), "b": np.array(1.0)} for T in (4, 6, 20, 100)]
    budget = budget.with_instances(max(100, budget.instances // 4))
    return attack(Space({}, fields), partial(_walk, factor=factor), budget, hard=hard)


# Tightness, and what a plan made in advance can do


DIRECTIONS = 181  # of a plan for two steps, half of them mirror images


def _best_fixed(game: SmoothedGame, b: float) -> float:
    """The least value of a two-step game over the plans (e_1, e_2) of norm `b`, up to :func:`_grid_error`.

    Here all of the budget is spent: success on the XOR game is monotone in e_1 whatever e_2 is, and only e_1 matters on
    a half-space of the first number.
    """
    plans = [b * np.array([[np.cos(t)], [np.sin(t)]]) for t in np.linspace(0, 2 * np.pi, DIRECTIONS)]
    return min(game.value(plan) for plan in plans)


def _grid_error(b: float) -> float:
    """How far the optimum over the circle can lie below that over the grid: a normal law moves by 0.4 per unit."""
    return 0.4 * sqrt(2) * b * np.pi / (DIRECTIONS - 1)


def _two_steps(m: float, half_space: bool) -> SmoothedGame:
    """The XOR game, or the half-space above -m of the first number."""
    if half_space:
        return tree_game(np.array([[-m], [0], [0]]), [0, 0, 1, 1])
    return tree_game(np.array([[0], [m], [-m]]), [1, 0, 0, 1])


def _xor(m: float, b: float, *, adaptive: bool, half_space: bool = False) -> Trial:
    """Distance of an adversary's success on the XOR game, or on a half-space of step one, from the certificate."""
    m, b = float(m), float(b)
    game = _two_steps(m, half_space)
    kept, slack = certificate(game.value(), b, game.rounding)
    found = best_attack(game, b, LEVELS).value if adaptive else _best_fixed(game, b)
    return Trial(abs(found - float(kept)), float(slack) + game.rounding)


XOR_SPACE = Space({}, {"m": Box("", 0, 3), "b": SHIFT})


def _xor_check(budget: Budget, adaptive: bool = True, half_space: bool = False) -> Identity:
    measure = partial(_xor, adaptive=adaptive, half_space=half_space)
    return equate(XOR_SPACE, measure, budget.with_instances(max(100, budget.instances // 10)))


def _fixed_suffices(m: float, b: float, *, half_space: bool) -> Trial:
    """The best plan made in advance against the best adaptive adversary."""
    m, b = float(m), float(b)
    game = _two_steps(m, half_space)
    return Trial(_best_fixed(game, b), best_attack(game, b, LEVELS).value, 2 * game.rounding + _grid_error(b))


def _fixed_check(budget: Budget, half_space: bool = False) -> Inequality:
    hard = [{"m": np.array(1.0), "b": np.array(1.0)}]
    measure = partial(_fixed_suffices, half_space=half_space)
    return attack(XOR_SPACE, measure, budget.with_instances(max(50, budget.instances // 40)), hard=hard)


def _directions(budget: Budget, *, root: bool) -> Identity:
    """A half-space in T steps of d numbers: the plan -B u brings it to the certificate, whatever T and d are."""
    worst, instances, rng, witness = -1.0, 0, budget.rng("directions"), {}
    for T in (1, 10, 100):
        for d in (1, 10):
            for _ in range(20):
                u = rng.normal(size=(T, d))
                u /= np.sqrt((u**2).sum())
                c, b = rng.uniform(-2, 3), rng.uniform(0.1, 3)
                plan = -b * u
                found = float(ndtr(c + (u * plan).sum()))  # <u, noise> is standard normal
                stated, slack = certificate(float(ndtr(c)), b / sqrt(T) if root else b, 4 * EPS)
                slack = float(slack) + T * d * EPS * b
                residual = abs(found - float(stated)) / slack
                instances += 1
                if residual > worst:
                    worst, witness = residual, {"T": T, "d": d, "c": c, "b": b, "attacked": found}
    return Identity(worst, 1.0, instances, "float", witness)


# Composition


def _composed(p: Array, e: float, b: float, *, spent: bool) -> Trial:
    """One step with shift e, then the certificate of what is left, against that of the whole budget.

    The first noise is seen through eight intervals; `p` holds the event's probability after each.
    """
    b, e = float(b), float(e) * float(b)
    rest = sqrt(max(b * b - e * e, 0.0)) if spent else b
    cells = np.diff(ndtr(CUTS), prepend=0, append=1)
    moved = np.diff(ndtr(CUTS - e), prepend=0, append=1)
    error = 16 * EPS
    whole, slack = certificate(float(cells @ p), b, error)
    parts, loose = certificate(p, rest, EPS)
    return Trial(float(whole), float(moved @ parts), float(slack) + float(moved @ loose) + error, float(cells @ p))


CUTS = np.linspace(-2.25, 2.25, 7)


def _composed_check(budget: Budget, spent: bool = True) -> Inequality:
    space = Space({"C": (8, 8)}, {"p": Box("C", 0, 1), "e": Box("", -1, 1), "b": SHIFT})
    linear = ndtr(np.linspace(-2.6, 2.6, 8))  # Phi^{-1}(p) linear in the noise: the worst, as the proof says
    hard = [{"p": linear, "e": np.array(-0.7), "b": np.array(1.0)}]
    budget = budget.with_instances(10 * budget.instances)
    return attack(space, partial(_composed, spent=spent), budget, hard=hard)


def _split(alpha: float, e: float, b: float, *, squares: bool) -> Trial:
    r"""The worst continuation, :math:`p(z)=\Phi((\alpha\sqrt{e^2+b'^2} + e z)/b')`, and however the budget is split.

    Both integrals are normal probabilities: :math:`E\Phi((x + e z)/b') = \Phi(x/\sqrt{b'^2+e^2})`.
    """
    b, e, alpha = float(b), float(e) * float(b), float(alpha)
    rest = sqrt(b * b - e * e) if squares else b - e
    norm = sqrt(rest**2 + e * e)
    clean = float(ndtr(alpha))
    attacked = float(ndtr((alpha * norm - e * e - rest * rest) / norm))  # z moves by -e, the rest costs b'
    kept, slack = certificate(clean, b, 4 * EPS)
    return Trial(abs(attacked - float(kept)), float(slack) + 16 * EPS * (1 + abs(alpha) + b))


def _split_check(budget: Budget, squares: bool = True) -> Identity:
    space = Space({}, {"alpha": Box("", -3, 3), "e": Box("", 0.05, 0.95), "b": SHIFT})
    return equate(space, partial(_split, squares=squares), budget)


CLAIMS = (
    claim(
        id="policy-smoothing/half-space",
        source="Neyman-Pearson lemma, as in Cohen, Rosenfeld & Kolter (2019)",
        statement=rf"A half-space of probability $p$ has probability ${CERTIFICATE}$ after a shift of norm $B$ "
        rf"against it.",
        kind=Identity,
        premises=("probabilities from 1e-160 to 1 - 1e-9, in 60 digits",),
        check=partial(_half_space, power=1),
        control=partial(_half_space, power=2),
        control_statement=r"$\Phi(\Phi^{-1}(p)-B^2/\sigma^2)$.",
    ),
    claim(
        id="policy-smoothing/static-lemma",
        source="Neyman-Pearson lemma, as in Cohen, Rosenfeld & Kolter (2019)",
        statement=rf"Every test of mass $p$ under $N(0,\sigma^2)$ has at least ${CERTIFICATE}$ under $N(B,\sigma^2)$.",
        kind=Inequality,
        premises=("tests with values in [0, 1] on five intervals",),
        check=_tests_check,
        control=partial(_tests_check, factor=0.9),
        control_statement=r"at least $\Phi(\Phi^{-1}(p)-0.9\,B/\sigma)$.",
    ),
    claim(
        id="policy-smoothing/adaptive-lemma",
        source="adaptive Neyman-Pearson lemma (abstract)",
        statement=rf"An event of probability $p$ without attack keeps ${CERTIFICATE}$ under every adaptive adversary.",
        kind=Inequality,
        premises=(SMOOTHED, ADAPTIVE, "two steps, three actions, payoffs in [0, 1] at the leaves; exact optimum"),
        check=_tree_check,
        control=partial(_tree_check, factor=1 / sqrt(2)),
        control_statement=r"the same with $B/\sqrt2$: half of the squared budget for each step.",
    ),
    claim(
        id="policy-smoothing/adaptive-lemma-long",
        source="adaptive Neyman-Pearson lemma (abstract)",
        statement=rf"An event of probability $p$ keeps ${CERTIFICATE}$ over horizons of 4 to 100 steps.",
        kind=Inequality,
        premises=(SMOOTHED, ADAPTIVE, "keeping a walk in the middle; exact optimum over the adversary's grid"),
        check=_walk_check,
        control=partial(_walk_check, factor=0.5),
        control_statement=r"the same with $B/2$.",
    ),
    claim(
        id="policy-smoothing/tight-adaptively",
        source="abstract (certificates are tight)",
        statement=rf"On the XOR game the best adaptive adversary brings success to ${CERTIFICATE}$ exactly.",
        kind=Identity,
        premises=(ADAPTIVE, "the second number must lie on the side of m that the first one's sign names"),
        check=_xor_check,
        control=partial(_xor_check, adaptive=False),
        control_statement="so does the best plan made in advance.",
    ),
    claim(
        id="policy-smoothing/tight-half-space",
        source="abstract (certificates are tight)",
        statement=rf"On a half-space of the first number the certificate ${CERTIFICATE}$ is attained.",
        kind=Identity,
        premises=(ADAPTIVE,),
        check=partial(_xor_check, half_space=True),
        control=partial(_xor_check, adaptive=False),
        control_statement="on the XOR game it is attained by a plan made in advance.",
    ),
    claim(
        id="policy-smoothing/plan-in-advance",
        source="ours, on the abstract (certificates against non-adaptive adversaries do not suffice)",
        statement="The best perturbations fixed in advance do as much harm as the best adaptive ones.",
        kind=Inequality,
        premises=("two steps; all directions of the budget on a grid of two degrees, whose error is certified",),
        check=_fixed_check,
        control=partial(_fixed_check, half_space=True),
        control_statement="the same on half-spaces of the first number.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-smoothing/horizon-and-dimension",
        source="adaptive Neyman-Pearson lemma (no dependence on the horizon or the dimension)",
        statement=rf"For half-spaces over $T$ steps of $d$ numbers the plan $-Bu$ attains ${CERTIFICATE}$, for all "
        rf"$T$, $d$.",
        kind=Identity,
        premises=(r"$T\in\{1,10,100\}$, $d\in\{1,10\}$",),
        check=partial(_directions, root=False),
        control=partial(_directions, root=True),
        control_statement=r"it leaves $\Phi(\Phi^{-1}(p)-B/(\sigma\sqrt T))$.",
    ),
    claim(
        id="policy-smoothing/composition",
        source="ours, the induction step of a proof of the lemma",
        statement=r"$E f_{b'}(p(z+e))\ge f_b(E p(z))$ for $f_b(p)=\Phi(\Phi^{-1}(p)-b)$, $e^2+b'^2=b^2$.",
        kind=Inequality,
        premises=(r"$p(\cdot)$ constant on eight intervals",),
        check=_composed_check,
        control=partial(_composed_check, spent=False),
        control_statement=r"$E f_b(p(z+e))\ge f_b(E p(z))$: what was spent is not subtracted.",
    ),
    claim(
        id="policy-smoothing/any-split",
        source="ours, equality in the induction step",
        statement=r"Where $\Phi^{-1}(p(z))$ is linear in $z$ with slope $e/b'$, every split $e^2+b'^2=b^2$ attains "
        r"$f_b(p)$.",
        kind=Identity,
        premises=("closed form of the normal integral",),
        check=_split_check,
        control=partial(_split_check, squares=False),
        control_statement=r"so does every split $e+b'=b$ of the norm itself.",
    ),
)
