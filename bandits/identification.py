r"""Finding an eps-optimal arm with confidence: track-and-stop from prior counts.

For the empirically best arm i and another arm a, the evidence against :math:`\mu_a \ge \mu_i + \epsilon` is the
generalised likelihood ratio

.. math:: Z_a = \min_x\; N_i\,kl(\hat\mu_i, x) + N_a\,kl(\hat\mu_a, x + \epsilon),

where counts include those of a log.  The rule stops at t pulls in all, offline ones included, when every :math:`Z_a
\ge \log(2(K-1)t/\delta)`.

**It is right with probability at least** :math:`1-\delta` (ours, after Garivier & Kaufmann 2016, Theorem 10, which is
:math:`\epsilon = 0` and an empty log).  *Proof.*  If arm a is more than :math:`\epsilon` better than i, :math:`Z_a` is
at most the log-likelihood ratio of the best fit of both arms to the truth.  Krichevsky and Trofimov's mixture is below
the best fit by at most :math:`\log 2\sqrt N` for each arm, together :math:`\log 4\sqrt{N_iN_a} \le \log 2t`, and its
ratio to the truth is a martingale of mean 1, exceeding :math:`(K-1)/\delta` with probability at most
:math:`\delta/(K-1)`: Ville.  Some best arm and each of the K - 1 others may be so confused.

**Sampling.**  Every fourth pull goes to the arm with the fewest pulls (forced exploration until all have
:math:`\sqrt{t/K}`); else the arm of the pair (i, argmin Z) whose pull raises the least Z more, by the envelope theorem
:math:`kl(\hat\mu_i, x)` or :math:`kl(\hat\mu_a, x+\epsilon)`: gradient ascent on what Track-and-Stop solves for
(Menard 2019; Wang, Tzeng & Proutiere 2021), from the counts that are there.
"""

from __future__ import annotations

from math import log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.bandits.optimism import negative_entropy
from claimlab.checks import Array, Ints
from claimlab.native import kernel

TINY, HALVINGS = 1e-12, 40


class Identified(NamedTuple):
    """What a run returned."""

    arm: int
    pulls: Ints  # [K], online
    stopped: bool  # before the limit


@kernel
def bernoulli_kl(p: float, x: float) -> float:
    """kl(p, x) for x in (0, 1)."""
    return negative_entropy(p) - p * log(x) - (1 - p) * log(1 - x)


@kernel
def meeting_point(p: float, n: float, q: float, m: float, eps: float) -> float:
    """The x between q - eps and p of the least n kl(p, x) + m kl(q, x + eps), for q - eps < p."""
    low = min(max(q - eps, TINY), 1 - eps - TINY)
    high = max(min(p, 1 - eps - TINY), low)
    for _ in range(HALVINGS):
        x = (low + high) / 2
        y = x + eps
        slope = n * (x - p) / (x * (1 - x)) + m * (y - q) / (y * (1 - y))
        low, high = (x, high) if slope < 0 else (low, x)
    return (low + high) / 2


@kernel
def _track(
    means: Array, eps: float, delta: float, total: Array, n: Array, limit: int, rng: Generator, pulls: Ints
) -> tuple[int, bool]:
    K, t = means.size, n.sum()
    best, challenger, p, x = 0, 0, 0.0, 0.0
    for k in range(limit + 1):
        rare = int(n.argmin())
        if n[rare] > 0:
            best, least = int((total / n).argmax()), np.inf
            p = total[best] / n[best]
            for a in range(K):
                if a != best:
                    q = total[a] / n[a]
                    at = meeting_point(p, n[best], q, n[a], eps)
                    z = n[best] * bernoulli_kl(p, at) + n[a] * bernoulli_kl(q, at + eps)
                    if z < least:
                        least, challenger, x = z, a, at
            if least >= log(2 * (K - 1) * t / delta):
                return best, True
        if k == limit:
            break
        arm = rare
        if n[rare] > 0 and (k % 4 or n[rare] >= sqrt(t / K)):
            q = total[challenger] / n[challenger]
            arm = best if bernoulli_kl(p, x) > bernoulli_kl(q, x + eps) else challenger
        total[arm] += 1.0 if rng.random() < means[arm] else 0.0
        n[arm] += 1
        pulls[arm] += 1
        t += 1
    return best, False


def track_and_stop(
    means: ArrayLike, eps: float, delta: float, rng: Generator, *, offline: ArrayLike | None = None,
    offline_rewards: ArrayLike | None = None, limit: int = 1_000_000,
) -> Identified:  # fmt: skip
    """Pull Bernoulli arms until one of them is known to be eps-optimal with probability at least 1 - delta.

    Parameters
    ----------
    means : float[K]
        Of the arms, at least two; seen through pulls alone.
    eps : float
        In (0, 1).
    delta : float
    offline, offline_rewards : float[K], optional
        How often a log pulled each arm, whole numbers, and what it was paid in all.
    limit : int
        Of online pulls; then the empirically best arm is returned, with ``stopped`` False.

    Examples
    --------
    >>> found = track_and_stop([0.9, 0.1], 0.1, 0.01, np.random.default_rng(0))
    >>> found.arm, found.stopped
    (0, True)
    """
    mu = checks.unit("means", means, ndim=1)
    if len(mu) < 2:
        raise ValueError(f"means must hold two arms or more, got {len(mu)}.")
    eps, delta = checks.interval("eps", eps, 0, 1, "()"), checks.interval("delta", delta, 0, 1, "()")
    n = checks.shaped("offline", np.zeros(len(mu)) if offline is None else offline, mu.shape, "(K,)")
    paid = np.zeros(len(mu)) if offline_rewards is None else offline_rewards
    total = checks.shaped("offline_rewards", paid, mu.shape, "(K,)")
    bad = np.flatnonzero((n < 0) | (n != np.floor(n)) | (total < 0) | (total > n))
    if len(bad):
        i = int(bad[0])
        raise ValueError(
            f"offline[{i}] is {n[i]:g} with rewards of {total[i]:g}; need counts, and rewards within them."
        )
    pulls, limit = np.zeros(len(mu), np.int64), checks.integer("limit", limit, 1)
    arm, stopped = _track(mu, eps, delta, total.copy(), n.copy(), limit, rng, pulls)
    return Identified(int(arm), pulls, bool(stopped))
