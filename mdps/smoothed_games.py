r"""Games of a noisy agent against an adversary who shifts what it sees, and the adversary's optimum.

At step `h` in state `s` the agent sees a number :math:`o_h(s) + \epsilon + \delta`, with Gaussian noise :math:`\delta`,
and takes the action in whose interval it falls.  The adversary knows the state, and so all of the past that matters,
and picks :math:`\epsilon` before the noise is drawn; over an episode :math:`\sum_h \epsilon_h^2 \le B^2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.staged import StagedMDP, staged_value


@dataclass(frozen=True, eq=False)
class SmoothedGame:
    """A staged MDP whose agent acts on a noisy number.

    Parameters
    ----------
    mdp : StagedMDP
        The states include whatever of the past the agent or the adversary should know.
    cuts : float[H, S, A - 1]
        Where the intervals of the actions meet, relative to the observation without noise and attack; not decreasing.
        Action a is taken between ``cuts[h, s, a - 1]`` and ``cuts[h, s, a]``.
    sigma : float
        Standard deviation of the noise.
    """

    mdp: StagedMDP
    cuts: Array
    sigma: float = 1.0

    def __post_init__(self) -> None:
        H, S, A = self.mdp.r.shape
        cuts = checks.shaped("cuts", self.cuts, (H, S, A - 1), "(H, S, A - 1)")
        bad = np.argwhere(np.diff(cuts, axis=2) < 0)
        if len(bad):
            raise ValueError(f"cuts{bad[0].tolist()} exceeds the next; the cuts of a state must not decrease.")
        object.__setattr__(self, "cuts", cuts)
        object.__setattr__(self, "sigma", checks.interval("sigma", self.sigma, 0, inf, "()"))

    def policy(self, shift: ArrayLike = 0.0) -> Array:
        """Law of the action under perturbations `shift`, broadcast to float[..., H, S]; float[..., H, S, A]."""
        below = ndtr((self.cuts - np.asarray(shift, dtype=np.float64)[..., None]) / self.sigma)
        ends = np.zeros((*below.shape[:-1], 1))
        return np.diff(below, axis=-1, prepend=ends, append=ends + 1)

    def value(self, shift: ArrayLike = 0.0) -> float:
        """Mean total reward if the perturbation of state `s` at step `h` is ``shift[h, s]``, whatever came before."""
        H, S, _ = self.mdp.r.shape
        return staged_value(self.mdp, self.policy(np.broadcast_to(shift, (H, S))))

    @property
    def rounding(self) -> float:
        """Bound on the float64 error of a value: as of the MDP, and as much again for the normal law."""
        return 2 * self.mdp.rounding


class Attack(NamedTuple):
    """The best adaptive adversary whose squared perturbations are multiples of :math:`B^2/L`."""

    value: float  # mean total reward under it: attained, so the optimum over all adversaries is not above
    low: float  # the optimum over all adversaries is not below (0 if there are more than two actions)
    v: Array  # [H + 1, S, L + 1], value to go with that many units of squared budget left
    shift: Array  # [H, S, L + 1], what it adds there


def best_attack(game: SmoothedGame, budget: float, levels: int = 64) -> Attack:
    r"""Backward induction over step, state and what is left of the squared budget.

    Restricted to multiples of the unit :math:`u = B^2/L` the adversary is a legitimate one, so ``value`` is exact for
    it and an upper bound on the optimum.  Any adversary whose spending is rounded up at each step pays less than
    :math:`B^2 + Hu`; with two actions the law of the action is monotone in the shift, so paying more is never worse for
    it, and the same recursion with `H` units more gives ``low``.

    >>> coin = StagedMDP(P=[[[[1.0], [1.0]]]], r=[[[0.0, 1.0]]])  # win if the number is positive
    >>> best_attack(SmoothedGame(coin, [[[-1.0]]]), 1.0).value
    0.5
    """
    budget = checks.interval("budget", budget, 0, inf, "[)")
    n = checks.integer("levels", levels, 1)
    H, S, A = game.mdp.r.shape
    spend = budget * np.sqrt(np.arange(n + H + 1) / n)
    v, shift = np.zeros((H + 1, S, n + H + 1)), np.zeros((H, S, n + H + 1))
    laws = game.policy(np.stack([-spend, spend])[:, :, None, None])  # [2, n + H + 1, H, S, A]
    for h in reversed(range(H)):
        q = game.mdp.r[h][..., None] + game.mdp.P[h] @ v[h + 1]  # [S, A, units left]
        v[h] = inf
        for units, size in enumerate(spend):
            left = q[..., : n + H + 1 - units]
            for sign, law in ((-1, laws[0, units, h]), (1, laws[1, units, h])):
                found = np.einsum("sa,sal->sl", law, left)
                better = found < v[h][:, units:]
                v[h][:, units:][better] = found[better]
                shift[h][:, units:][better] = sign * size
    value, low = game.mdp.initial @ v[0][:, n], game.mdp.initial @ v[0][:, n + H] if A == 2 else 0.0
    return Attack(float(value), float(low), v[:, :, : n + 1], shift[:, :, : n + 1])


def total_law(game: SmoothedGame, shift: ArrayLike = 0.0) -> Array:
    """Law of the total reward, float[H + 1] over 0..H, for games whose rewards are 0 or 1."""
    H, S, _ = game.mdp.r.shape
    if not np.isin(game.mdp.r, (0, 1)).all():
        raise ValueError("rewards of total_law must be 0 or 1, got others.")
    policy = game.policy(np.broadcast_to(shift, (H, S)))
    law = np.zeros((S, H + 1))
    law[:, 0] = game.mdp.initial
    for h in range(H):
        acting = law[:, None, :] * policy[h][..., None]  # [S, A, total]
        gains = game.mdp.r[h] == 1
        acting[gains] = np.roll(acting[gains], 1, axis=-1)  # the last entry is empty before the last step
        law = np.einsum("sal,sat->tl", acting, game.mdp.P[h])
    return np.asarray(law.sum(axis=0))


def tree_game(cuts: ArrayLike, leaves: ArrayLike, sigma: float = 1.0) -> SmoothedGame:
    """A game whose states are its histories: `H` steps, the same number of actions at each, a payoff at every leaf.

    Parameters
    ----------
    cuts : float[N, A - 1]
        For each history of fewer than `H` actions, shorter ones first and then in lexicographic order.
    leaves : float[A ** H]
        Payoffs in [0, 1], in lexicographic order of the actions.

    The XOR game, in which the second number must lie on the side that the first one names:

    >>> xor = tree_game([[0.0], [1.0], [-1.0]], [1, 0, 0, 1])
    >>> round(xor.value(), 4), round(best_attack(xor, 1.0).value, 4)
    (0.8413, 0.5)
    """
    c, payoff = checks.array("cuts", cuts, ndim=2), checks.unit("leaves", leaves, ndim=1)
    N, A = c.shape[0], c.shape[1] + 1
    H, nodes = 0, 0
    while nodes < N:
        nodes, H = nodes + A**H, H + 1
    if N == 0 or A < 2 or nodes != N or len(payoff) != A**H:
        raise ValueError(f"cuts and leaves must belong to a full tree, got shapes {c.shape} and {payoff.shape}.")
    P, r = np.zeros((H, N, A, N)), np.zeros((H, N, A))
    P[..., 0] = 1  # where no history of that length is, or the game is over
    first = 0
    for h in range(H - 1):
        at, width = np.arange(A**h), A**h
        P[h, first + at] = 0
        for a in range(A):
            P[h, first + at, a, first + width + A * at + a] = 1
        first += width
    r[H - 1, first:] = payoff.reshape(-1, A)
    return SmoothedGame(StagedMDP(P, r), np.broadcast_to(c, (H, *c.shape)), sigma)


def middle_game(horizon: int, reach: int = 3, gap: float = 1.0, sigma: float = 1.0) -> SmoothedGame:
    """Keep in the middle: a walk on -`reach`..`reach` that steps against the sign of a noisy view of its position.

    A step pays 1 for each step taken from inside; at either end the game is over.  Positions are seen `gap` apart.

    >>> round(middle_game(6).mdp.horizon - middle_game(6).value(), 3)
    0.014
    """
    H, k = checks.integer("horizon", horizon, 1), checks.integer("reach", reach, 1)
    gap = checks.interval("gap", gap, 0, inf, "[)")
    S = 2 * k + 1
    P, r = np.zeros((S, 2, S)), np.ones((S, 2))
    P[[0, -1], :, [0, -1]], r[[0, -1]] = 1, 0
    for s in range(1, S - 1):
        P[s, 0, s + 1] = P[s, 1, s - 1] = 1  # seen left of the middle: go right
    cuts = np.tile(-gap * np.arange(-k, k + 1.0), (H, 1))[..., None]
    return SmoothedGame(StagedMDP(np.tile(P, (H, 1, 1, 1)), np.tile(r, (H, 1, 1)), np.eye(S)[k]), cuts, sigma)
