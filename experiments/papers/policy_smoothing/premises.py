"""What the certificate rests on: the adversary does not see the noise, and each frame is noised once and in full."""

from __future__ import annotations

from functools import partial
from math import sqrt

import numpy as np
from scipy.special import ndtr

from claimlab.checks import Array
from claimlab.experiments.papers.policy_smoothing.common import ADAPTIVE, CERTIFICATE, SMOOTHED, certificate, claim
from claimlab.mdps.smoothed_games import middle_game
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Outcome
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.smoothing import certified_steps
from claimlab.theory.spaces import Box, Space

SHIFT = Box("", 0.05, 3)


def _seen(c: float, b: float, *, sees: bool) -> Trial:
    r"""One step, won if :math:`|\epsilon+\delta|<c`: an adversary who sees the noise pushes it outwards by b.

    It wins unless :math:`|\delta|<c-b`; one who does not see it shifts the interval, best by b.
    """
    c, b, error = float(c), float(b), 8 * EPS
    p = float(ndtr(c) - ndtr(-c))
    kept, slack = certificate(p, b, error)
    attacked = max(float(ndtr(c - b) - ndtr(b - c)), 0.0) if sees else float(ndtr(c - b) - ndtr(-c - b))
    return Trial(float(kept), attacked, float(slack) + error, p)


def _seen_check(budget: Budget, sees: bool = True) -> Inequality:
    hard = [{"c": np.array(1.0), "b": np.array(1.0)}]
    return attack(Space({}, {"c": Box("", 0.05, 3), "b": SHIFT}), partial(_seen, sees=sees), budget, hard=hard)


def _clipped(cuts: Array, leaves: Array, ends: Array, b: float, *, noise: bool) -> Trial:
    """One step, five intervals: the noisy observation clipped to a range, or the noise itself; best shift of a grid."""
    cuts, (low, high) = np.sort(cuts), np.sort(ends)
    shifts = np.linspace(-float(b), float(b), 33)[:, None]

    def below(shift: Array) -> Array:
        """Probability that what the agent is given lies at or below each cut."""
        at, free = (cuts - shift, ndtr(cuts - shift)) if noise else (cuts + 0 * shift, ndtr(cuts - shift))
        return np.where(at < low, 0.0, np.where(at >= high, 1.0, free))

    def mean(shift: Array) -> Array:
        return np.diff(below(shift), axis=1, prepend=0, append=1) @ leaves

    p, error = float(mean(np.zeros((1, 1)))[0]), 32 * EPS
    kept, slack = certificate(p, float(b), error)
    return Trial(float(kept), float(mean(shifts).min()), float(slack) + error, p)


def _clipped_check(budget: Budget, noise: bool = False) -> Inequality:
    fields = {"cuts": Box("C", -3, 3), "leaves": Box("L", 0, 1), "ends": Box("E", -3, 3), "b": SHIFT}
    hard = [
        {
            "cuts": np.array([-1.0, 0, 1, 2]),
            "leaves": np.array([1.0, 1, 1, 0, 0]),
            "ends": np.array([-1.0, 1.0]),
            "b": np.array(1.0),
        }
    ]
    space = Space({"C": (4, 4), "L": (5, 5), "E": (2, 2)}, fields)
    return attack(space, partial(_clipped, noise=noise), budget.with_instances(5 * budget.instances), hard=hard)


def _clipped_view(cuts: Array, leaves: Array, ends: Array, b: float, *, inside: bool) -> Trial:
    """The perturbed observation clipped before the noise, numbers relative to the clean one; `inside` the range or not.

    The probability without attack is that without clipping.
    """
    low, high = np.sort(ends)
    if inside:
        low, high = min(low, 0.0), max(high, 0.0)
    moved = np.clip(np.linspace(-float(b), float(b), 33), low, high)

    def mean(shift: Array) -> Array:
        return np.diff(ndtr(np.sort(cuts) - shift[:, None]), axis=1, prepend=0, append=1) @ leaves

    p, error = float(mean(np.zeros(1))[0]), 32 * EPS
    kept, slack = certificate(p, float(b), error)
    return Trial(float(kept), float(mean(moved).min()), float(slack) + error, p)


def _clipped_view_check(budget: Budget, inside: bool = True) -> Inequality:
    fields = {"cuts": Box("C", -3, 3), "leaves": Box("L", 0, 1), "ends": Box("E", -3, 3), "b": SHIFT}
    space = Space({"C": (4, 4), "L": (5, 5), "E": (2, 2)}, fields)
    return attack(space, partial(_clipped_view, inside=inside), budget.with_instances(5 * budget.instances))


def _copies(u: Array, c: float, b: float, *, root: bool) -> Trial:
    r"""One frame in k copies, each with noise of its own: the event :math:`\langle u, z\rangle > -c`, :math:`\|u\|=1`.

    A perturbation of the frame moves all copies alike, so the half-space by :math:`b\,|\sum_i u_i|`.
    """
    length, k, error = sqrt(float(u @ u)), len(u), 16 * EPS
    if length < 0.1:
        return Trial(0.0, 0.0)
    p, b = float(ndtr(c)), float(b)
    kept, slack = certificate(p, b * sqrt(k) if root else b, error)
    attacked = float(ndtr(float(c) - b * abs(float(u.sum())) / length))
    return Trial(float(kept), attacked, float(slack) + error * (1 + abs(float(c)) + b * sqrt(k)), p)


def _copies_check(budget: Budget, root: bool = False) -> Inequality:
    space = Space({"K": (1, 5)}, {"u": Box("K", -1, 1), "c": Box("", -2, 3), "b": SHIFT})
    hard = [{"u": np.ones(2), "c": np.array(1.0), "b": np.array(1.0)}]
    return attack(space, partial(_copies, root=root), budget.with_instances(5 * budget.instances), hard=hard)


def _steps(horizon: float, gap: float, e: float, *, root: bool) -> Trial:
    """Keeping a walk in the middle against e at every step: the exact optimum against the sum of certificates."""
    game = middle_game(int(horizon), gap=float(gap))
    H, S, _ = game.mdp.r.shape
    laws = game.policy(float(e) * np.array([-1.0, 1.0])[:, None, None])  # the law is monotone in the shift
    v, plain, means = np.zeros(S), game.policy(), np.empty(H)
    at = game.mdp.initial
    for h in range(H):
        means[h] = (at[:, None] * plain[h] * game.mdp.r[h]).sum()
        at = np.einsum("s,sa,sat->t", at, plain[h], game.mdp.P[h])
    for h in reversed(range(H)):
        q = game.mdp.r[h] + game.mdp.P[h] @ v
        v = (laws[:, h] * q).sum(axis=2).min(axis=0)
    means, error = np.minimum(means, 1), H * game.rounding
    if root:
        stated = float(certified_steps(means, float(e), 1.0))
    else:
        stated = float(certificate(means, float(e), 0.0)[0].sum())
    slack = float(certificate(means, float(e) * np.sqrt(np.arange(1, H + 1)), game.rounding)[1].sum())
    return Trial(stated, float(game.mdp.initial @ v), error + slack, float(means.sum()))


def _steps_check(budget: Budget, root: bool = True) -> Inequality:
    space = Space({}, {"horizon": Box("", 4, 40, step=1), "gap": Box("", 0, 3), "e": Box("", 0.05, 1)})
    return attack(space, partial(_steps, root=root), budget)


CLAIMS = (
    claim(
        id="policy-smoothing/noise-seen",
        source="ours, on the order of moves (the adversary acts before the noise is drawn)",
        statement=rf"${CERTIFICATE}$ also holds against an adversary who sees the noise before it acts.",
        kind=Inequality,
        premises=("one step, won if the noisy number lies in an interval around 0",),
        check=_seen_check,
        control=partial(_seen_check, sees=False),
        control_statement="it holds against one who does not.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-smoothing/clipped-observation",
        source="ours, on the experiments with pixels (observations have a range)",
        statement=rf"${CERTIFICATE}$ holds if the noisy observation is clipped to a range before the agent sees it.",
        kind=Inequality,
        premises=("one step, five intervals; shifts on a grid of 33",),
        check=_clipped_check,
        control=partial(_clipped_check, noise=True),
        control_statement="it holds if the noise itself is clipped.",
    ),
    claim(
        id="policy-smoothing/clipped-perturbation",
        source="ours, on the experiments with pixels (observations have a range)",
        statement=rf"${CERTIFICATE}$ holds if the perturbed observation is clipped to a range before the noise is "
        rf"added.",
        kind=Inequality,
        premises=("the clean observation lies in the range", "one step, five intervals; shifts on a grid of 33"),
        check=_clipped_view_check,
        control=partial(_clipped_view_check, inside=False),
        control_statement="it holds wherever the clean observation lies, with $p$ measured without the clip.",
    ),
    claim(
        id="policy-smoothing/copies-noised-anew",
        source="ours, on the experiments with stacked frames",
        statement=rf"${CERTIFICATE}$ with the frame's budget holds if each of $k$ copies of a frame has noise of its "
        rf"own.",
        kind=Inequality,
        premises=("half-spaces of one to five copies",),
        check=_copies_check,
        control=partial(_copies_check, root=True),
        control_statement=r"it holds with $\sqrt k\,B$ in place of $B$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-smoothing/per-step-budget",
        source="released scripts (a budget for each step)",
        statement=r"If $|\epsilon_t|\le e$, the mean return is at least "
        r"$\sum_t\Phi(\Phi^{-1}(m_t)-\sqrt{t+1}\,e/\sigma)$.",
        kind=Inequality,
        premises=(SMOOTHED, "rewards in [0, 1] with clean means $m_t$; a walk kept in the middle, exact optimum"),
        check=_steps_check,
        control=partial(_steps_check, root=False),
        control_statement=r"at least $\sum_t\Phi(\Phi^{-1}(m_t)-e/\sigma)$.",
    ),
    claim(
        id="policy-smoothing/copies-noised-anew-budget",
        source="ours, repairing the claim on copies",
        statement=r"With $k$ noised copies of a frame, $\Phi(\Phi^{-1}(p)-\sqrt k\,B/\sigma)$ holds, with equality "
        r"for equal weights.",
        kind=Inequality,
        premises=("half-spaces of one to five copies", ADAPTIVE),
        check=partial(_copies_check, root=True),
        control=_copies_check,
        control_statement=r"it holds with $B$.",
    ),
)
