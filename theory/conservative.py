r"""The price of safety: how many episodes StepMix spends away from optimism, and what that costs.

Setting of :mod:`claimlab.mdps.conservative` with ``L1Sets`` at level `delta`, not pooled.  Let
:math:`\kappa = v^{\pi^b} - \gamma > 0` be the baseline's slack, N the number of episodes in which the optimistic policy
is not played as it is, and :math:`c = H(H-1)/2`.

**Lemma (ours).** On the event of the sets,

.. math:: \kappa N \;\le\; \sum_{k \in N} (U_k - L_k)
          \;\le\; \sum_{k \in N} E_{\pi_k} \sum_h (H-h-1) \min\{2\,\mathrm{rad}^k_h(s_h,a_h), 1\} .

*Proof.* Let :math:`L_k, U_k` be the chords :math:`(1-\rho)\,\ell(h_0-1) + \rho\,\ell(h_0)` of the lower and upper
bounds of the two candidates that are mixed, or the bounds of the baseline.  :math:`L_k \le \gamma` by construction.  A
candidate follows the baseline and then :math:`\bar\pi`, whose upper bound is at least :math:`v^*`, so its own is
at least :math:`v^{\pi^b} = \gamma + \kappa`: hence :math:`U_k - L_k \ge \kappa`.  At one step
:math:`q \cdot \overline v - q' \cdot \underline v \le p \cdot (\overline v - \underline v) + 2\,\mathrm{rad}\,(H-h-1)`
for q, q' of the ball, each within 2 rad of p, and at most H-h-1; unroll it along :math:`\pi_k`, in whose occupancy both
sides are affine.  (In the usual Hoeffding bonuses b the summand is 4 b.)

**Theorem (ours).** With probability at least :math:`1 - 2\delta`, for all numbers of episodes at once,

.. math:: \kappa N \le \tfrac{e}{e-1}\, c\, \Bigl( SA + 4\sqrt{2 L_N\, SA\, N} + \log\tfrac1\delta \Bigr), \qquad
          L_N = \log(2^S-2) + \log\frac{HSA\,N(N+1)}{\delta} ,

so :math:`N = \tilde O(H^4 S^2 A / \kappa^2)`, whatever the number of episodes.

*Proof.* The summands in expectation and as they happen, :math:`E_k` and :math:`X_k \in [0, c]`, satisfy
:math:`\sum E_k \le \frac{e}{e-1} (\sum X_k + c \log\frac1\delta)` for all sums at once (Ville's inequality for
:math:`\prod_k e^{-X_k/c + (1-1/e)E_k/c}`).  Along the visits of one pair
:math:`\sum_i \min\{2\,\mathrm{rad}(i), 1\} \le 1 + 4\sqrt{2L_N m}` over m of them, since
:math:`\sum_{i<m} i^{-1/2} \le 2\sqrt m`; Cauchy-Schwarz sums over pairs.  Visits in other episodes only make radii
smaller, since rad falls in n although its logarithm grows.
"""

from __future__ import annotations

from math import e, inf, log, log1p, sqrt

from claimlab import checks

VILLE = e / (e - 1)


def union_log(S: int, A: int, H: int, n: float, delta: float) -> float:
    r"""The logarithm in the radii after `n` visits: :math:`\log(2^S-2) + \log\frac{HSA\,n(n+1)}{\delta}`, nats.

    For S and n of at least 2 and 1; both theorems of this module have it.
    """
    S, A, H = checks.integer("S", S, 2), checks.integer("A", A, 1), checks.integer("H", H, 1)
    n, delta = checks.interval("n", n, 1, inf, "[)"), checks.interval("delta", delta, 0, 1, "()")
    outcomes = S * log(2.0) + log1p(-(2.0 ** (1 - S)))  # log(2^S - 2)
    return outcomes + log(H * S * A / delta) + log(n) + log(n + 1)


def widths_bound(S: int, A: int, H: int, episodes: float, delta: float) -> float:
    r"""Upper bound on the summed widths of `episodes` episodes, in units of value: the right-hand side of the theorem.

    Parameters
    ----------
    S, A, H : int
        States, actions, steps.
    episodes : float
        How many of the episodes are summed over, N.
    delta : float
        The level of the sets; the bound fails with probability at most twice that.
    """
    S, A, H = (checks.integer(name, x, 1) for name, x in (("S", S), ("A", A), ("H", H)))
    delta, N = checks.interval("delta", delta, 0, 1, "()"), checks.interval("episodes", episodes, 0, inf, "[)")
    if S == 1 or N == 0:
        return 0.0
    L = union_log(S, A, H, max(N, 1.0), delta)
    return VILLE * (H * (H - 1) / 2) * (S * A + 4 * sqrt(2 * L * S * A * N) + log(1 / delta))


def price_of_safety(S: int, A: int, H: int, slack: float, delta: float) -> float:
    r"""The largest number N of non-optimistic episodes that the theorem admits: independent of how many are played.

    `slack` is kappa; other parameters as for :func:`widths_bound`, and so is the probability of failure.

    >>> price_of_safety(5, 5, 3, 0.1, 0.05) < 4.3 * price_of_safety(5, 5, 3, 0.2, 0.05)
    True
    """
    slack = checks.interval("slack", slack, 0, inf, "()")

    def admitted(N: float) -> bool:
        return slack * N <= widths_bound(S, A, H, N, delta)

    low, high = 0.0, 1.0
    while admitted(high):
        low, high = high, 2 * high
    while high - low > max(0.5, 1e-9 * high):
        middle = (low + high) / 2
        low, high = (middle, high) if admitted(middle) else (low, middle)
    return high


def conservative_regret(S: int, A: int, H: int, episodes: int, gap: float, slack: float, delta: float) -> float:
    r"""Upper bound on StepMix's regret after `episodes` episodes, with probability at least :math:`1-2\delta`.

    .. math:: (\Delta_0 + \kappa)\, \min\{N, K\} + \text{widths of } K \text{ optimistic episodes}

    since no episode is worth less than :math:`\gamma = v^* - \Delta_0 - \kappa`, and an optimistic one loses at most
    its width.  The second term is the bound on the regret without the constraint.

    Parameters
    ----------
    gap : float
        Delta_0, what the baseline lacks to the optimum.
    slack : float
        kappa.
    """
    gap = checks.interval("gap", gap, 0, inf, "[)")
    K = checks.integer("episodes", episodes, 1)
    price = (gap + slack) * min(price_of_safety(S, A, H, slack, delta), K)
    return price + widths_bound(S, A, H, K, delta)


def published_regret(S: int, A: int, H: int, episodes: int, gap: float, slack: float) -> float:
    r"""The published order of StepMix's and EpsMix's regret with its constant and logarithms left out.

    .. math:: \sqrt{H^3SAK} + H^3S^2A + H^3SA\,\Delta_0 \Bigl(\frac1{\kappa^2} + \frac S\kappa\Bigr)

    Source: Li et al. (2023), Theorem 1 (for Bernstein bonuses).  An order, not a bound: compare growth, not values.
    """
    S, A, H = (checks.integer(name, x, 1) for name, x in (("S", S), ("A", A), ("H", H)))
    K, gap = checks.integer("episodes", episodes, 1), checks.interval("gap", gap, 0, inf, "[)")
    slack = checks.interval("slack", slack, 0, inf, "()")
    return sqrt(H**3 * S * A * K) + H**3 * S**2 * A + H**3 * S * A * gap * (1 / slack**2 + S / slack)


def offline_shortfall(S: int, A: int, H: int, episodes: int, delta: float) -> float:
    r"""Upper bound on what pessimism's certificate lacks to the value of the policy that collected the data.

    With `episodes` = n independent episodes of any policy :math:`\mu`, with probability at least :math:`1 - 2\delta`,

    .. math:: v^\mu - \underline v \le \frac{H(H-1)}2 \Bigl( 2\sqrt{\frac{L_n SA}{n}}
              + \frac{8SA}{n} \log\frac{HSA}{\delta} \Bigr), \qquad L_n = \log(2^S-2) + \log\frac{HSA\,n(n+1)}{\delta} .

    *Proof (ours).* :func:`~claimlab.mdps.conservative.pessimistic_value_iteration` lacks at most
    :math:`E_\mu \sum_h (H-h-1) \min\{\mathrm{rad}_h, 1\}`.  A pair with :math:`n\mu_h(s,a) \ge 8\log(HSA/\delta)` was
    visited at least half as often as expected (Chernoff; all together but for probability :math:`\delta`), so its part
    is at most :math:`\mu_h \sqrt{2L_n / (n\mu_h/2)}`; the others have :math:`\mu_h < 8\log(HSA/\delta)/n` each; and
    :math:`\sum_{s,a} \sqrt{\mu_h(s,a)} \le \sqrt{SA}`.
    """
    S, A, H = (checks.integer(name, x, 1) for name, x in (("S", S), ("A", A), ("H", H)))
    n, delta = checks.integer("episodes", episodes, 1), checks.interval("delta", delta, 0, 1, "()")
    if S == 1:
        return 0.0
    L = union_log(S, A, H, n, delta)
    return H * (H - 1) / 2 * (2 * sqrt(L * S * A / n) + 8 * S * A / n * log(H * S * A / delta))


def offline_episodes(S: int, A: int, H: int, shortfall: float, delta: float) -> int:
    r"""How many episodes make :func:`offline_shortfall` at most `shortfall`: :math:`\tilde O(H^4 S^2 A / \kappa^2)`.

    If the data come from a policy worth :math:`\gamma + \kappa`, a shortfall of :math:`\kappa/2` leaves the learned
    baseline a certified slack of :math:`\kappa/2`.
    """
    shortfall = checks.interval("shortfall", shortfall, 0, inf, "()")
    low, high = 0, 1
    while offline_shortfall(S, A, H, high, delta) > shortfall:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offline_shortfall(S, A, H, middle, delta) > shortfall else (low, middle)
    return high
