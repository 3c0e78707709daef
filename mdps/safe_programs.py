r"""Safe exploration by linear programs over occupancies: OptPess-LP and DOPE, the reward being the constraint too.

Both maximise an inflated reward under a deflated constraint, :math:`\langle d, r + \alpha b\rangle` subject to
:math:`\langle d, r - b\rangle \ge \gamma`, and play the baseline where that is infeasible.  OptPess-LP plans with the
empirical transitions, DOPE with the best ones of the confidence set.

**Theorem (safety).** On the event of ``L1Sets`` every feasible solution's policy is worth at least :math:`\gamma`.
*Proof.* By the value difference lemma :math:`v^\pi_q - v^\pi_p = E^q_\pi \sum_h (q_h - p_h) \cdot v^\pi_{p,h+1}`, and
the span of :math:`v^\pi_{p,h+1}` is at most H-h-1.  For :math:`q = \hat p` that is at most
:math:`b_h = \tfrac12 (H-h-1)\,\mathrm{rad}_h`, for any q of the ball, which is within 2 rad of p, at most twice that.

**Theorem (optimism).** If the baseline has :math:`\langle d^b, r - b\rangle \ge \gamma + \kappa/2`, then
:math:`\alpha = 1 + 4H/\kappa` for OptPess-LP (`r` is off by b once more) and :math:`\alpha = 2H/\kappa` for DOPE make
the optimum of the program at least :math:`v^*`.  *Proof.* Mix the occupancies of the optimum and of the baseline with
the weight that just meets the constraint; the inflation pays for the baseline's share.

Both constants are ours, for known rewards and these balls; the papers have the same form with others.

Sources: Liu, Zhou, Kalathil, Kumar & Tian (2021), Learning policies with zero or bounded constraint violation for
constrained MDPs (OptPess-LP); Bura, HasanzadeZonuzy, Kalathil, Shakkottai & Chamberland (2022), DOPE: doubly optimistic
and pessimistic exploration for safe reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult, linprog
from scipy.sparse import block_diag, csr_array, hstack, kron, vstack

from claimlab import checks
from claimlab.checks import Array, Bools, Ints, Sparse
from claimlab.mdps.beliefs import transition_counts
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.confidence import L1Sets, l1_radius
from claimlab.mdps.episodes import play_episodes
from claimlab.mdps.linear_program import TOLERANCE
from claimlab.mdps.optimistic import Fixed
from claimlab.mdps.staged import StagedMDP, staged_value

INFEASIBLE = 2  # HiGHS's status, as scipy tells it


class SafePolicy(NamedTuple):
    """The answer of a program."""

    policy: Array  # [H, S, A]; uniform in states that the plan does not reach
    optimum: float  # of the program: the inflated reward
    certificate: float  # <d, r - b>, a lower bound on the value on the event of the sets


Program = Callable[[StagedMDP, Any, float, float, L1Sets | None], SafePolicy | None]


def optpess_program(
    mdp: StagedMDP, data: ArrayLike, threshold: float, slack: float, sets: L1Sets | None = None
) -> SafePolicy | None:
    """OptPess-LP's policy for the transitions counted in `data`, or None where no policy is certified.

    Parameters
    ----------
    mdp : StagedMDP
        Its rewards and first state are read, its transitions are not.
    data : int[H, S, A, S]
    threshold : float
    slack : float
        kappa, what the baseline is worth beyond the threshold.
    sets : L1Sets, optional
        ``L1Sets()`` by default; not pooled.
    """
    p, rad = _empirical(mdp, data, sets)
    b = 0.5 * _steps_after(mdp) * rad
    alpha = 1 + 4 * mdp.horizon / checks.interval("slack", slack, 0, np.inf, "()")
    S, A = mdp.n_states, mdp.n_actions
    states = kron(csr_array(np.eye(S)), np.ones((1, A)))
    flow = _flow(mdp, states, [csr_array(p[h].reshape(S * A, S).T) for h in range(mdp.horizon)])
    answer = _solve(-(mdp.r + alpha * b).ravel(), (mdp.r - b).ravel()[None], threshold, flow, mdp)
    return None if answer is None else _policy(answer.x.reshape(mdp.r.shape), mdp.r - b, -answer.fun)


def dope_program(
    mdp: StagedMDP, data: ArrayLike, threshold: float, slack: float, sets: L1Sets | None = None
) -> SafePolicy | None:
    """DOPE's policy, parameters as for :func:`optpess_program`.

    Variables are z(h, s, a, t), how often (s, a, t) happens at step h, and e, which bounds `|z - p d|` entry by entry.
    """
    p, rad = _empirical(mdp, data, sets)
    H, S, A = mdp.r.shape
    b = _steps_after(mdp) * np.minimum(rad, 1.0)
    alpha = 2 * H / checks.interval("slack", slack, 0, np.inf, "()")
    pairs = kron(csr_array(np.eye(S * A)), np.ones((1, S)))  # z of a step to d of a step
    states = kron(csr_array(np.eye(S)), np.ones((1, A))) @ pairs
    arrivals = kron(np.ones((1, S * A)), csr_array(np.eye(S)))
    flow = _flow(mdp, states, [csr_array(arrivals)] * H)
    size = H * S * A * S
    identity = csr_array(np.eye(size))
    total = block_diag([pairs] * H)
    expected = csr_array(p.reshape(-1, 1) * total.toarray().repeat(S, axis=0))
    near = vstack(
        [
            hstack([identity - expected, -identity]),
            hstack([expected - identity, -identity]),
            hstack([-csr_array(rad.reshape(-1, 1) * total.toarray()), total]),
        ]
    )
    reward = total.T @ (mdp.r + alpha * b).ravel()
    safe = total.T @ (mdp.r - b).ravel()
    nothing = np.zeros(size)
    wide = hstack([flow, csr_array((H * S, size))])
    answer = _solve(-np.r_[reward, nothing], np.r_[safe, nothing][None], threshold, wide, mdp, near)
    if answer is None:
        return None
    return _policy((total @ answer.x[:size]).reshape(H, S, A), mdp.r - b, -answer.fun)


class ProgramRecord(NamedTuple):
    """What is kept of runs of a program, at episodes 1, 2, 4, ..."""

    times: Ints  # [C]
    regret: Array  # [runs, C]
    least: Array  # [runs, C], least value of a policy so far
    certified: Bools  # [runs, C], whether the program was feasible


def play_program(
    program: Program,
    mdp: StagedMDP,
    baseline: ArrayLike,
    threshold: float,
    *,
    episodes: int,
    runs: int,
    seed: int,
    sets: L1Sets | None = None,
) -> ProgramRecord:
    """Play `runs` independent runs in which the program is solved anew when the number of episodes has doubled.

    The `slack` that the program is told is the baseline's true one, as both papers assume.
    """
    pi = mdp.policy(baseline, "baseline")
    slack = staged_value(mdp, pi) - threshold
    episodes, runs = checks.integer("episodes", episodes, 1), checks.integer("runs", runs, 1)
    times = np.append(2 ** np.arange(int(np.ceil(np.log2(episodes))) if episodes > 1 else 0), episodes)
    regret, least = np.zeros((runs, times.size)), np.zeros((runs, times.size))
    certified = np.zeros((runs, times.size), bool)
    seeds = np.random.SeedSequence(checks.integer("seed", seed, 0)).generate_state(runs * times.size)
    for run in range(runs):
        data, lost, low, played = np.zeros(mdp.P.shape), 0.0, np.inf, 0
        for c, stop in enumerate(times):
            found = program(mdp, data, threshold, slack, sets) if played else None
            policy = pi if found is None else found.policy
            record = play_episodes(
                Fixed(policy), mdp, episodes=int(stop) - played, runs=1, seed=int(seeds[run * times.size + c]),
                checkpoints=1, threads=1, keep_states=True,
            )  # fmt: skip
            data, played = data + record.states[0].hits, int(stop)
            lost, low = lost + float(record.regret[0, -1]), min(low, float(record.least[0, -1]))
            regret[run, c], least[run, c], certified[run, c] = lost, low, found is not None
    return ProgramRecord(times, regret, least, certified)


def _empirical(mdp: StagedMDP, data: ArrayLike, sets: L1Sets | None) -> tuple[Array, Array]:
    """Frequencies, uniform before the first visit, and radii of each pair."""
    sets = L1Sets() if sets is None else sets
    counts = transition_counts(data)
    if counts.shape != mdp.P.shape:
        raise ValueError(f"data must have shape (H, S, A, S) = {mdp.P.shape}, got {counts.shape}.")
    if sets.pooled:
        raise ValueError("sets must not be pooled: the programs plan for each step.")
    n = counts.sum(axis=3)
    p = np.where(n[..., None] > 0, counts / np.maximum(n, 1)[..., None], 1 / mdp.n_states)
    rad = np.array([l1_radius(float(x), n.shape, sets.delta, sets.scale) for x in n.ravel()]).reshape(n.shape)
    return p, rad


def _steps_after(mdp: StagedMDP) -> Array:
    """H - h - 1, as float[H, 1, 1]."""
    return np.arange(mdp.horizon - 1, -1.0, -1)[:, None, None]


def _flow(mdp: StagedMDP, states: Sparse, arrivals: list[Sparse]) -> Sparse:
    """Rows (h, s): how often step h is in s, minus how often step h - 1 leads there; `states` sums over the actions."""
    H, S = mdp.horizon, mdp.n_states
    blocks: list[list[Any]] = [[None] * H for _ in range(H)]
    for h in range(H):
        blocks[h][h] = states
        if h:
            blocks[h][h - 1] = -arrivals[h - 1]
    filled = [[csr_array((S, states.shape[1])) if x is None else x for x in row] for row in blocks]
    return vstack([hstack(row) for row in filled])


def _solve(
    cost: Array, safe: Array, threshold: float, flow: Sparse, mdp: StagedMDP, near: Sparse | None = None
) -> OptimizeResult | None:
    """Least cost under the flow equations, ``safe @ x >= threshold`` and ``near @ x <= 0``."""
    rows, limits = csr_array(-safe), np.array([-threshold])
    if near is not None:
        rows, limits = csr_array(vstack([rows, near])), np.append(limits, np.zeros(near.shape[0]))
    answer = linprog(
        cost,
        A_ub=rows,
        b_ub=limits,
        A_eq=csr_array(flow),
        b_eq=np.r_[mdp.initial, np.zeros(flow.shape[0] - mdp.n_states)],
        bounds=(0, None),
        method="highs",
        options={"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE},
    )
    if answer.status == INFEASIBLE:
        return None
    if answer.status != 0:
        raise NotConverged(f"HiGHS found no optimum: {answer.message}", answer)
    return answer


def _policy(occupancy: Array, safe: Array, optimum: float) -> SafePolicy:
    d = np.maximum(occupancy, 0.0)
    total = d.sum(axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        policy = np.where(total > 1e-12, d / total, 1 / d.shape[2])  # below HiGHS's own tolerance nothing is planned
    return SafePolicy(policy / policy.sum(axis=2, keepdims=True), float(optimum), float((d * safe).sum()))
