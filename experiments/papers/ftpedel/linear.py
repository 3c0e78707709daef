"""Linear MDPs: features, optimism (Jin et al. 2020), and pessimism with what it can promise (Jin, Yang & Wang 2021)."""

from __future__ import annotations

from functools import lru_cache, partial
from math import log, sqrt

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.ftpedel.common import claim
from claimlab.mdps.episodes import EpisodeRecord, play_episodes
from claimlab.mdps.linear import (
    LinearMDP,
    Policies,
    deterministic_policies,
    feature_expectations,
    optimal_weights,
    softmax_policies,
)
from claimlab.mdps.linear_instances import one_hot, simplex_linear_mdp
from claimlab.mdps.lsvi import LSVIUCB, plan_least_squares
from claimlab.mdps.offline import PEVI, evaluate_offline, least_squares, pessimistic_choice, pevi
from claimlab.mdps.staged import StagedMDP, staged_occupancy, staged_optimum, staged_value, transition_data
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome, Probability, probability
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

LINEAR = "a linear MDP with known features; finite states"
EVENT = "the widths $\\beta_h$ hold for the estimates that the plan uses"
DELTA, RUNS = 0.1, 100  # no failure in 100 runs has probability 3e-5 if the level is 0.1

SIZES = {"H": (1, 3), "S": (1, 3), "A": (1, 3), "D": (1, 4)}
FIELDS = {
    "phi": Simplex("SAD"),
    "mu": Simplex("HDS"),
    "theta": Box("HD", 0, 1),
    "first": Simplex("S"),
}
MODELS = Space(SIZES, FIELDS | {"pi": Simplex("HSA")})
LOGS = Space(SIZES, FIELDS | {"counts": Box("HSAS", 0, 30, step=1), "extra": Box("", 0, 1)})


def _features(phi: Array, mu: Array, theta: Array, first: Array, pi: Array, *, shift: float) -> Trial:
    """Values and occupancies through expected features, and through tables of the same MDP, as one-hot features."""
    mdp = LinearMDP(phi, mu, theta, first)
    expected = feature_expectations(mdp, pi)
    tables = one_hot(mdp.staged)
    occupancy = staged_occupancy(mdp.staged, pi)
    off = max(
        abs(float((expected * (theta + shift)).sum()) - staged_value(mdp.staged, pi)),
        float(abs(expected - np.einsum("hsa,sai->hi", occupancy, phi)).max()),
        float(abs(feature_expectations(tables, pi) - occupancy.reshape(len(theta), -1)).max()),
    )
    return Trial(off, 1e-15 * len(theta) ** 2 * (mdp.n_states + mdp.n_actions + mdp.dim + 4) * 2)


def _features_check(budget: Budget, shift: float = 0.0) -> Identity:
    return equate(MODELS, partial(_features, shift=shift), budget)


def _softmax(phi: Array, mu: Array, theta: Array, first: Array, eta: float, *, factor: float) -> Trial:
    mdp = LinearMDP(phi, mu, theta, first)
    pi = softmax_policies(mdp, eta * optimal_weights(mdp)[None]).policies[0]
    lost = staged_optimum(mdp.staged).value - staged_value(mdp.staged, pi)
    H, _, A = mdp.staged.r.shape
    return Trial(lost, factor * H * log(A) / eta, 4 * mdp.staged.rounding, trivial=float(H))


def _softmax_check(budget: Budget, factor: float = 1.0) -> Inequality:
    return attack(Space(SIZES, FIELDS | {"eta": Box("", 0.5, 50)}), partial(_softmax, factor=factor), budget)


# Optimism ------------------------------------------------------------------------------------------------------------

EPISODES = 2**13


def arena() -> LinearMDP:
    return simplex_linear_mdp(3, 3, 3, 2, np.random.default_rng(6))


@lru_cache(maxsize=3)
def played(scale: float, runs: int, seed: int) -> EpisodeRecord:
    mdp = arena()
    return play_episodes(
        LSVIUCB(mdp.phi, DELTA, scale), mdp.staged, episodes=EPISODES, runs=runs, seed=seed, checkpoints=2,
        keep_states=True,
    )  # fmt: skip


def _optimism(budget: Budget, scale: float = 1.0) -> Probability:
    """Runs in which some plan's value lies below the optimum."""
    best, rounding = staged_optimum(arena().staged).value, arena().staged.rounding
    record = played(scale, RUNS, budget.seed)
    return probability(sum(state.lowest[0] < best - 1e3 * rounding for state in record.states), RUNS, DELTA)


def lsvi_ucb_regret(d: int, S: int, H: int, K: int, delta: float) -> float:
    r"""Regret of LSVI-UCB with the widths of :mod:`claimlab.mdps.lsvi` (ridge 1), with probability 1 - 2 delta (ours).

    .. math:: 2\sum_h \beta_h \sqrt{2dK\log(1+K/d)} + \sqrt{2K\sum_{j=1}^H j^2\log(1/\delta)}

    Regret is at most :math:`\sum_{k,h} 2\beta_h\|\phi\|_{\Lambda^{-1}}` and a martingale (Jin et al. 2020, Lemma B.6).
    The first sum is bounded by Cauchy and Schwarz with :math:`\sum_k\|\phi_k\|^2 \le 2d\log(1+K/d)`; the
    martingale's differences lie in intervals of length 2j, for Azuma and Hoeffding.  :math:`\beta_h` is taken at the
    largest determinant, :math:`\log\det\Lambda \le d\log(1+K/d)`.
    """
    growth = d * log(1 + K / d)
    beta = [
        sqrt(d) * j + (j - 1) * sqrt(0.5 * (0.5 * growth + (S - 1) * log(2) + log(H / delta))) for j in range(1, H + 1)
    ]
    return 2 * sum(beta) * sqrt(2 * K * growth) + sqrt(2 * K * sum(j * j for j in range(1, H + 1)) * log(1 / delta))


def _regret(budget: Budget, factor: float = 1.0) -> Inequality:
    mdp, record = arena(), played(1.0, RUNS, budget.seed)
    H, S, _ = mdp.staged.r.shape
    bound = factor * lsvi_ucb_regret(mdp.dim, S, H, EPISODES, DELTA)
    worst = float(record.regret[:, -1].max())
    return Inequality(
        ratio=worst / bound, excess=worst - bound, error=1e-9 * EPISODES, instances=RUNS,
        informative=RUNS if bound < H * EPISODES else 0, tried=RUNS, power=RUNS,
        witness={"regret": worst, "bound": bound, "episodes": EPISODES},
    )  # fmt: skip


# Pessimism -----------------------------------------------------------------------------------------------------------


def on_the_event(mdp: LinearMDP, counts: Array, extra: float) -> PEVI:
    """PEVI with the least widths, times 1 + `extra`, that hold for its own plan: the event, whatever the log."""
    H = mdp.horizon
    beta, state = np.zeros(H), least_squares(mdp, counts)
    norms = np.sqrt(state.square)
    for h in reversed(range(H)):
        state.beta[:] = beta
        plan_least_squares(state, mdp.phi, -1.0)
        off = abs(mdp.phi @ state.w[h] - mdp.staged.r[h] - mdp.staged.P[h] @ state.v[h + 1])
        beta[h] = (1 + extra) * float(np.where(norms[h] > 0, off / np.maximum(norms[h], 1e-300), 0.0).max())
    return pevi(mdp, counts, beta=beta)


def _pevi(
    phi: Array, mu: Array, theta: Array, first: Array, counts: Array, extra: float, *, factor: float, lower: bool
) -> Trial:
    mdp = LinearMDP(phi, mu, theta, first)
    found = on_the_event(mdp, counts, float(extra))
    value, error = staged_value(mdp.staged, found.policy), 1e-9
    if lower:
        return Trial(found.value * factor, value, error, trivial=float(mdp.horizon))
    best = staged_optimum(mdp.staged)
    paid = 2 * float((staged_occupancy(mdp.staged, best.policy) * found.bonus).sum())
    return Trial(best.value - value, factor * paid, error, trivial=best.value)


def _pevi_check(budget: Budget, factor: float = 1.0, lower: bool = False) -> Inequality:
    return attack(LOGS, partial(_pevi, factor=factor, lower=lower), budget)


def crowd(states: int) -> tuple[LinearMDP, Array, float]:
    r"""One step, `states` equally likely first states; in each the good action pays 1, the bad one 0.6.

    They were seen 8 and 9999 times: with the ridge 1 their norms are 1/3 and 1/100.  The event with the width 1 holds
    as :math:`\|\hat w - w\|_\Lambda^2 = n(1/9 + 0.36/10^4) \le 1` up to n = 8 states.  Pessimism sees
    8/9 - 1/3 = 0.556 and 0.59994 - 0.01 = 0.590 and takes the bad action: it loses 0.4, the norm of the mean allows
    :math:`2/(3\sqrt n)`, which is 1/3 for n = 4.
    """
    r = np.tile([1.0, 0.6], (1, states, 1))
    P = np.tile(np.eye(states)[:, None], (1, 1, 2, 1))
    mdp = one_hot(StagedMDP(P, r, np.full(states, 1 / states)))
    return mdp, np.einsum("hsat,a->hsat", P, [8.0, 9999.0]), 1.0


def _norm_of_the_mean(budget: Budget, over_policies: bool = False) -> Inequality:
    """What is lost to the optimum against 2 sum of beta ||phi of the optimum||, on the instances of `crowd`."""
    trials = []
    for states in range(1, 9):
        mdp, counts, beta = crowd(states)
        best = staged_optimum(mdp.staged)
        policies = deterministic_policies(mdp)
        chosen = (
            policies.policies[pessimistic_choice(mdp, policies, counts, beta=[beta]).best]
            if over_policies
            else pevi(mdp, counts, beta=[beta]).policy
        )
        optimal = Policies(best.policy[None], feature_expectations(mdp, best.policy)[None])
        norm = float(evaluate_offline(mdp, optimal, counts).norms[0, 0])
        trials.append(Trial(best.value - staged_value(mdp.staged, chosen), 2 * beta * norm, 1e-9, trivial=best.value))
    i = max(range(len(trials)), key=lambda k: trials[k].ratio)
    return Inequality(
        ratio=trials[i].ratio, excess=trials[i].excess, error=1e-9, instances=len(trials),
        informative=sum(t.bound < t.trivial for t in trials), tried=len(trials), power=len(trials),
        witness={"states": i + 1, "lost": trials[i].value, "bound": trials[i].bound},
    )  # fmt: skip


def _offline_runs(budget: Budget, what: str, scale: float = 1.0, episodes: int = 200) -> Probability:
    """Logs of uniform episodes on which a statement about widths fails; policies are the deterministic ones."""
    mdp, rng, failures = arena(), budget.rng("logs"), 0
    policies = deterministic_policies(mdp)
    values = np.einsum("nhi,hi->n", policies.features, mdp.theta)
    uniform, best = np.full(mdp.staged.r.shape, 1 / mdp.n_actions), staged_optimum(mdp.staged)
    visited = staged_occupancy(mdp.staged, best.policy)
    for _ in range(RUNS):
        counts = transition_data(mdp.staged, uniform, episodes, rng)
        if what == "estimates":
            choice = pessimistic_choice(mdp, policies, counts, delta=DELTA, scale=scale)
            off = abs(evaluate_offline(mdp, policies, counts).value - values) - choice.penalty
            failures += int(off.max() > 1e-9)
        else:
            found = pevi(mdp, counts, delta=DELTA, scale=scale)
            value = staged_value(mdp.staged, found.policy)
            paid = 2 * float((visited * found.bonus).sum())
            failures += int(found.value > value + 1e-9 or best.value - value > paid + 1e-9)
    return probability(failures, RUNS, DELTA)


CLAIMS = (
    claim(
        id="ftpedel/linear-features",
        source="Section 2, linear MDPs (Jin et al. 2020, Assumption A)",
        statement=(
            r"$v^\pi = \sum_h \langle\phi_{\pi,h}, \theta_h\rangle$ with $\phi_{\pi,h} = E_\pi\phi(s_h,a_h)$, computed "
            r"through the measures alone; with one-hot features $\phi_{\pi,h}$ is the occupancy of the step."
        ),
        kind=Identity,
        premises=(LINEAR, "features and measures on simplices, which are always valid"),
        check=_features_check,
        control=partial(_features_check, shift=0.01),
        control_statement="the same with rewards shifted by 0.01.",
    ),
    claim(
        id="ftpedel/softmax-cover",
        source="ours, behind the policy cover of PEDEL, Corollary 1",
        statement=r"The linear-softmax policy with weights $\eta w^*$ is worth at least $v^* - H\log(A)/\eta$.",
        kind=Inequality,
        premises=(LINEAR, "$w^*_h = \\theta_h + \\mu_h v^*_{h+1}$"),
        check=_softmax_check,
        control=partial(_softmax_check, factor=0.2),
        control_statement="the same with a fifth of the loss.",
    ),
    claim(
        id="ftpedel/lsvi-ucb-optimism",
        source="Jin et al. (2020), Lemma B.5, with our widths",
        statement=(
            r"With probability at least $1-\delta$ every plan of LSVI-UCB is worth at least $v^*$ on paper "
            rf"($\delta = {DELTA:g}$, {EPISODES} episodes)."
        ),
        kind=Probability,
        premises=(LINEAR, "d = S = A = 3, H = 2"),
        check=_optimism,
        control=partial(_optimism, scale=0.03),
        control_statement="the same with widths of three hundredths.",
    ),
    claim(
        id="ftpedel/lsvi-ucb-regret",
        source="Jin et al. (2020), Theorem 3.1, with our explicit constant",
        statement=(
            r"With probability at least $1-2\delta$ the regret of LSVI-UCB is at most $2\sum_h\beta_h"
            r"\sqrt{2dK\log(1+K/d)} + \sqrt{2K\sum_{j\le H}j^2\log(1/\delta)}$: here in each of the runs."
        ),
        kind=Inequality,
        premises=(LINEAR, "d = S = A = 3, H = 2"),
        check=_regret,
        control=partial(_regret, factor=1e-3),
        control_statement="the same with a thousandth of the bound.",
    ),
    claim(
        id="ftpedel/pevi-shortfall",
        source="Jin, Yang & Wang (2021), Theorem 4.2 and its linear case",
        statement=(
            r"On the event, $v^* - v^{\hat\pi} \le 2E_{\pi^*}\sum_h\beta_h\|\phi(s_h,a_h)\|_{\Lambda_h^{-1}}$ for the "
            r"policy of pessimistic value iteration, whatever the log."
        ),
        kind=Inequality,
        premises=(LINEAR, EVENT),
        check=_pevi_check,
        control=partial(_pevi_check, factor=0.3),
        control_statement="the same with three tenths of the right-hand side.",
    ),
    claim(
        id="ftpedel/pevi-certificate",
        source="Jin, Yang & Wang (2021), the pessimism lemma",
        statement=r"On the event, the plan of pessimistic value iteration promises no more than its policy is worth.",
        kind=Inequality,
        premises=(LINEAR, EVENT),
        check=partial(_pevi_check, lower=True),
        control=partial(_pevi_check, lower=True, factor=1.2),
        control_statement="the same with 1.2 times the promise.",
    ),
    claim(
        id="ftpedel/pevi-coverage",
        source="Jin, Yang & Wang (2021), Theorem 4.4, with our widths",
        statement=(
            r"With probability at least $1-\delta$ both hold with the widths of $\delta$ on a log of 200 uniform "
            rf"episodes ($\delta = {DELTA:g}$)."
        ),
        kind=Probability,
        premises=(LINEAR, "d = S = A = 3, H = 2"),
        check=partial(_offline_runs, what="pevi"),
        control=partial(_offline_runs, what="pevi", scale=0.0, episodes=20_000),
        control_statement="the same with widths of zero, on 20000 episodes, where the ridge hides nothing.",
    ),
    claim(
        id="ftpedel/offline-evaluation",
        source="ours, the error identity of PEDEL in linear MDPs",
        statement=(
            r"With probability at least $1-\delta$, $|\hat v^\pi - v^\pi| \le \sum_h\beta_h\|\hat\phi_{\pi,h}\|_"
            r"{\Lambda_h^{-1}}$ for all policies at once."
        ),
        kind=Probability,
        premises=(LINEAR, "d = S = A = 3, H = 2", "a log of 200 uniform episodes"),
        check=partial(_offline_runs, what="estimates"),
        control=partial(_offline_runs, what="estimates", scale=0.05),
        control_statement="the same with a twentieth of the widths.",
    ),
    claim(
        id="ftpedel/pevi-norm-of-the-mean",
        source="ours, the unverifiable rate in the form of Wagenmaker & Pacchiano, claimed of value iteration",
        statement=(
            r"On the event, pessimistic value iteration has $v^* - v^{\hat\pi} \le "
            r"2\sum_h\beta_h\|\phi_{\pi^*,h}\|_{\Lambda_h^{-1}}$: the norm of the mean feature."
        ),
        kind=Inequality,
        premises=(LINEAR, EVENT, "one step, one-hot features, equally likely first states"),
        check=_norm_of_the_mean,
        control=partial(_norm_of_the_mean, over_policies=True),
        control_statement="the same for pessimism over whole policies.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="ftpedel/pessimism-over-policies",
        source="ours, the repaired statement",
        statement=(
            r"On the event, the policy with the largest $\hat v^\pi - \sum_h\beta_h\|\hat\phi_{\pi,h}\|$ has "
            r"$v^* - v^{\hat\pi} \le 2\sum_h\beta_h\|\hat\phi_{\pi^*,h}\|_{\Lambda_h^{-1}}$."
        ),
        kind=Inequality,
        premises=(LINEAR, EVENT, "one step, one-hot features, equally likely first states"),
        check=partial(_norm_of_the_mean, over_policies=True),
        control=_norm_of_the_mean,
        control_statement="the same for pessimistic value iteration.",
    ),
)
