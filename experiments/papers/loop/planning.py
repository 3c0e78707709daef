"""Planning: the ellipsoid of Bellman errors in closed form against rectangular bonuses; the discounted surrogate."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.loop.common import OPTIMALITY, claim
from claimlab.mdps.average import gain_and_bias, relative_value_iteration
from claimlab.mdps.loop_tabular import ellipsoidal_plan, rectangular_gain
from claimlab.mdps.planning import solve
from claimlab.mdps.tabular import AverageMDP, TabularMDP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

EPS = float(np.finfo(float).eps)
SIZES = {"S": (1, 4), "A": (1, 3)}
EMPIRICAL = Space(
    SIZES,
    {
        "P": Simplex("SAS"),
        "r": Box("SA", 0, 1),
        "N": Box("SA", 1, 50, step=1),
        "e": Box("SA"),
        "beta": Box("", 0.1, 20),
    },
)
MIXING = 0.1  # share of each row that goes to state 0: every policy has one recurrent class


def _unichain(P: Array, r: Array) -> AverageMDP:
    pulled = (1 - MIXING) * P
    pulled[..., 0] += MIXING
    return AverageMDP(pulled, r)


def _arithmetic(S: int, size: float) -> float:
    """Elimination without subtraction errs by a few S^2 EPS, relatively, in every entry of the law (O'Cinneide
    1993)."""
    return 32 * (S + 2) ** 3 * EPS * size


def _closed_form(P: Array, r: Array, N: Array, e: Array, beta: Array, *, rectangular: bool) -> Trial:
    """The formula's gain against value iteration under the errors that should attain it."""
    mdp, width = _unichain(P, r), float(beta)
    plan = ellipsoidal_plan(mdp, N, width)
    errors = np.sqrt(width / N) if rectangular else plan.errors
    solved = relative_value_iteration(AverageMDP(mdp.P, r + errors), 1e-9)
    size = 1 + float(abs(errors).max())
    return Trial(abs(solved.gain - plan.gain), solved.error + _arithmetic(len(r), size))


def _closed_form_check(budget: Budget, rectangular: bool = False) -> Identity:
    return equate(EMPIRICAL, partial(_closed_form, rectangular=rectangular), budget)


def _optimistic(P: Array, r: Array, N: Array, e: Array, beta: Array, *, share: float) -> Trial | None:
    """No reward error within the ellipsoid gives more than the plan for `share` of its width."""
    mdp, width, norm = _unichain(P, r), float(beta), float((N * e**2).sum())
    if norm == 0:
        return None
    solved = relative_value_iteration(AverageMDP(mdp.P, r + e * np.sqrt(width / norm)), 1e-9)
    plan = ellipsoidal_plan(mdp, N, share * width)
    size = 1 + float(np.sqrt(width))
    top = float((r + np.sqrt(width / N)).max())  # what no reward exceeds
    return Trial(solved.gain, plan.gain, solved.error + _arithmetic(len(r), size), trivial=top * (1 + 1e-9))


def _attaining(budget: Budget) -> list[Case]:
    """Random instances with the errors that the closed form says are best."""
    rng, cases = budget.rng("hard"), []
    for _ in range(8):
        case = EMPIRICAL.draw(rng)
        plan = ellipsoidal_plan(_unichain(case["P"], case["r"]), case["N"], float(case["beta"]))
        cases.append(case | {"e": plan.errors / max(1.0, float(abs(plan.errors).max()))})
    return cases


def _optimistic_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(EMPIRICAL, partial(_optimistic, share=share), budget, hard=_attaining(budget))


def _tighter(P: Array, r: Array, N: Array, e: Array, beta: Array, *, share: float) -> Trial:
    mdp, width = _unichain(P, r), float(beta)
    gain, error = rectangular_gain(mdp, N, share * width)
    size = 1 + float(np.sqrt(width))
    top = float((r + np.sqrt(width / N)).max())
    plan = ellipsoidal_plan(mdp, N, width)
    return Trial(plan.gain, gain, error + _arithmetic(len(r), size), trivial=top * (1 + 1e-9))


def _tighter_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(EMPIRICAL, partial(_tighter, share=share), budget)


# the discounted surrogate ---------------------------------------------------------------------------------------------

DISCOUNTED = Space(SIZES, {"P": Simplex("SAS"), "r": Box("SA", 0, 1), "gamma": Box("", 0.0, 0.99)})


def _surrogate(P: Array, r: Array, gamma: Array, *, part: str, constant: float) -> Trial | None:
    """Both lemmas hold for any solution of the Bellman equation, up to its residual.

    The premise of one recurrent class is met by a pull of 1/1000 towards state 0, which leaves chains nearly periodic.
    """
    P = 0.999 * P
    P[..., 0] += 0.001
    mdp, discount = AverageMDP(P, r), float(gamma)
    found = gain_and_bias(mdp, relative_value_iteration(mdp, 1e-9).policy)
    q = r + mdp.expect(found.bias)
    residual = float(abs(q.max(axis=1) - found.bias - found.gain).max()) + 16 * EPS * (1 + abs(found.bias).max())
    solution, span = solve(TabularMDP(P, r, discount)), float(np.ptp(found.bias))
    if part == "gain":
        value = float(abs(found.gain - (1 - discount) * solution.v).max())
        bound, error = constant * (1 - discount) * span, (1 - discount) * solution.error + 2 * residual
        return Trial(value, bound, error + 8 * EPS, trivial=1.0)
    error = 2 * (solution.error + residual / (1 - discount))
    return Trial(float(np.ptp(solution.v)), constant * span, error + 8 * EPS, trivial=1 / (1 - discount))


def _cycles() -> list[Case]:
    """Two states that alternate and pay 1 and 0: no chain is farther from its long run."""
    P = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    return [{"P": P, "r": np.array([[1.0], [0.0]]), "gamma": np.array(g)} for g in (0.0, 0.01, 0.5, 0.9)]


def _surrogate_check(budget: Budget, part: str, constant: float) -> Inequality:
    return attack(DISCOUNTED, partial(_surrogate, part=part, constant=constant), budget, hard=_cycles())


SURROGATE = "ours, a lemma behind the clipped surrogates that the paper is compared with"
UNICHAIN = "every policy has one recurrent class under the empirical model"
CLOSED = "ours, the optimistic planning of Algorithm 1 with G all functions"

CLAIMS = (
    claim(
        id="loop/planning-closed-form",
        source=CLOSED,
        statement=(
            r"$\max_{\sum Ne^2\le\beta} J^*(\hat P, r+e) = \max_\pi d_\pi\cdot r + \sqrt\beta\,\|d_\pi\|_{N^{-1}}$, "
            r"attained at $e = \sqrt\beta\,(d/N)/\|d\|_{N^{-1}}$."
        ),
        kind=Identity,
        premises=(UNICHAIN,),
        check=_closed_form_check,
        control=partial(_closed_form_check, rectangular=True),
        control_statement=r"it equals the gain under the rectangular bonus $\sqrt{\beta/N}$.",
    ),
    claim(
        id="loop/planning-optimistic",
        source=CLOSED,
        statement=r"No reward error $e$ with $\sum Ne^2 \le \beta$ gives a larger gain than the closed form.",
        kind=Inequality,
        premises=(UNICHAIN,),
        check=_optimistic_check,
        control=partial(_optimistic_check, share=0.9),
        control_statement=r"none gives more than the closed form for $0.9\,\beta$.",
    ),
    claim(
        id="loop/ellipsoid-in-rectangle",
        source=CLOSED,
        statement=r"The ellipsoidal optimistic gain is at most that of the rectangular bonus $\sqrt{\beta/N}$.",
        kind=Inequality,
        premises=(UNICHAIN,),
        check=_tighter_check,
        control=partial(_tighter_check, share=0.5),
        control_statement=r"at most that of the bonus $\sqrt{\beta/(2N)}$.",
    ),
    claim(
        id="loop/discounted-gain",
        source=SURROGATE,
        statement=r"$|J^* - (1-\gamma)V^*_\gamma(s)| \le (1-\gamma)\,\mathrm{sp}(V^*)$.",
        kind=Inequality,
        premises=(OPTIMALITY,),
        check=partial(_surrogate_check, part="gain", constant=1.0),
        control=partial(_surrogate_check, part="gain", constant=0.9),
        control_statement="the same with 0.9 times the span.",
    ),
    claim(
        id="loop/discounted-span",
        source=SURROGATE,
        statement=r"$\mathrm{sp}(V^*_\gamma) \le 2\,\mathrm{sp}(V^*)$.",
        kind=Inequality,
        premises=(OPTIMALITY,),
        check=partial(_surrogate_check, part="span", constant=2.0),
        control=partial(_surrogate_check, part="span", constant=1.9),
        control_statement="the same with 1.9 in place of 2.",
    ),
)
