r"""FTPedel at work: what its estimates miss, whether it returns good policies, and how many episodes it plays."""

from __future__ import annotations

from functools import lru_cache, partial
from math import ceil, log2
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array, Ints
from claimlab.experiments.papers.ftpedel.common import PAIRED, RUNWISE, TABULAR, claim
from claimlab.mdps.coverage import geometry_of, o2o_episodes
from claimlab.mdps.fine_tuning import Beta, Oracle, PlugIn, derived_beta, estimated, fine_tune, published_beta
from claimlab.mdps.instances import episodic_river_swim
from claimlab.mdps.logs import Log, draw_log
from claimlab.mdps.online_design import RegretDesign
from claimlab.mdps.policy_classes import deterministic_policies, first_targets, next_targets, values
from claimlab.mdps.staged import StagedMDP, staged, staged_occupancy, staged_value
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Identity, Inequality, Probability, Rate, all_of, probability
from claimlab.theory.exact_comparisons import sign_comparison, sign_rate
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Simplex, Space

EPS, DELTA = 0.2, 0.1
ORACLES, SEEN, LEARNERS = "the oracle's design", "the design for what was seen", "the design that learners find"
ROUNDS, BATCH = 8, 64  # of FWRegret, for each epoch and step
RUNS = {"smoke": 200, "standard": 500, "full": 2_000}


class Task(NamedTuple):
    """An instance, and episodes of uniform play that are known beforehand."""

    name: str
    mdp: StagedMDP
    offline: int


@lru_cache(maxsize=1)
def tasks() -> tuple[Task, ...]:
    """A random MDP of 81 policies with little and much data, a lock, arms just above eps, and a river to swim up."""
    rng = np.random.default_rng(20230716)
    mdp = StagedMDP(rng.dirichlet(np.ones(2), size=(2, 2, 3)), rng.random((2, 2, 3)))
    P = np.zeros((2, 3, 2, 3))
    P[:, :, :, 2] = 1.0
    P[0, 0, 0], P[0, 0, 1] = np.eye(3)[1], np.eye(3)[2]
    r = np.zeros((2, 3, 2))
    r[1, 1], r[1, 2] = [1.0, 0.0], [0.3, 0.3]
    above = StagedMDP(np.ones((1, 1, 4, 1)), np.array([[[0.6, 0.38, 0.38, 0.1]]]))
    return (
        Task("random", mdp, 0),
        Task("random, with data", mdp, 30_000),
        Task("lock", StagedMDP(P, r), 2_000),
        Task("just above", above, 20),
        Task("river", staged(episodic_river_swim(3, 3)), 20_000),
    )


def uniform(mdp: StagedMDP) -> Array:
    return np.full(mdp.r.shape, 1 / mdp.n_actions)


def actions(policy: Ints, A: int) -> Array:
    return np.asarray(np.eye(A)[policy])


class Runs(NamedTuple):
    shortfall: Array  # [runs], of the policy returned
    missed: Array  # [runs], largest |estimate - value| / width over epochs and guarded policies
    episodes: Array  # [runs]


@lru_cache(maxsize=32)
def play(
    which: int,
    runs: int,
    seed: int,
    share: float = 1.0,
    explorer: str = ORACLES,
    offline: int = -1,
    constant: Beta = derived_beta,
) -> Runs:
    """Independent runs, each with its own log; `share` multiplies beta."""
    task = tasks()[which]
    mdp, n = task.mdp, task.offline if offline < 0 else offline
    beta = partial(scaled_beta, share, constant)
    oracle = Oracle(mdp, EPS, DELTA, n * staged_occupancy(mdp, uniform(mdp)), beta=beta)
    true = values(mdp, oracle.policies)[0] @ mdp.initial
    out = np.zeros((3, runs))
    for run in range(runs):
        rng = np.random.default_rng(np.random.SeedSequence([seed, which, run]))
        log = draw_log(mdp, uniform(mdp), n, rng)
        by = {
            ORACLES: oracle,
            SEEN: PlugIn(mdp.initial),
            LEARNERS: RegretDesign(mdp, rng, rounds=ROUNDS, batch=BATCH),
        }[explorer]
        found = fine_tune(mdp, by, EPS, DELTA, rng, offline=log, beta=beta)
        best = staged_value(mdp, actions(found.policy, mdp.n_actions))
        missed = np.nanmax(abs(found.estimates - true) / found.widths[:, None])
        out[:, run] = true.max() - best, missed, found.episodes
    return Runs(*out)


def scaled_beta(
    share: float, constant: Beta, horizon: int, policies: float, delta: float, epoch: int
) -> float:  # fmt: skip
    return share * constant(horizon, policies, delta, epoch)


def _estimates_check(budget: Budget, share: float = 1.0, constant: Beta = derived_beta) -> Probability:
    """Runs in which some estimate of some epoch misses its width, over all tasks."""
    runs = RUNS[budget.name] // 2
    missed = np.concatenate([play(i, runs, budget.seed, share, constant=constant).missed for i in range(len(tasks()))])
    slack = {"largest error over width": float(missed.max())}
    return probability(int((missed > 1).sum()), len(missed), DELTA, slack)


CASES = (3, 0, 2, 4)  # the hardest first: gaps just above eps, and little data


def good_policies(budget: Budget, explorer: str, share: float = 1.0, cases: tuple[int, ...] = CASES) -> Probability:
    """Runs whose policy is not eps-optimal, on the task on which the bound on their probability is largest."""
    pieces, runs = [], {"smoke": 120, "standard": 200}.get(budget.name, 2_000)
    for which in cases:
        short = play(which, runs, budget.seed, share, explorer).shortfall
        seen = {"task": tasks()[which].name, "largest shortfall": float(short.max())}
        pieces.append(probability(int((short > EPS).sum()), runs, DELTA, seen))
    return all_of(pieces)


def complexity(task: Task, offline: int, eps: float = EPS) -> float:
    r"""Ours: :math:`\lceil\log_2\frac4\epsilon\rceil\sum_h T_{o2o}(64\beta)`, plus two percent and one a batch for
    luck."""
    mdp, H = task.mdp, task.mdp.horizon
    n = len(deterministic_policies(mdp))
    epochs = ceil(log2(4 / eps))
    beta = 64 * derived_beta(H, n, DELTA, epochs)
    visits = offline * staged_occupancy(mdp, uniform(mdp))
    return epochs * sum(1.02 * o2o_episodes(mdp, h, eps, beta, visits[h]).value + 2 for h in range(H))


ACCURACIES = (0.8, 0.4, 0.2, 0.1)


@lru_cache(maxsize=2)
def at_accuracies(runs: int, seed: int) -> Array:
    """Episodes for the random task without data, float[runs, accuracies]."""
    mdp, rows = tasks()[0].mdp, []
    for eps in ACCURACIES:
        oracle = Oracle(mdp, eps, DELTA)
        column = []
        for run in range(runs):
            rng = np.random.default_rng(np.random.SeedSequence([seed, 77, run]))
            column.append(fine_tune(mdp, oracle, eps, DELTA, rng).episodes)
        rows.append(column)
    return np.array(rows).T


def accuracy_runs(budget: Budget) -> int:
    return {"smoke": 30, "standard": 60}.get(budget.name, 200)


def _episodes_check(budget: Budget, share: float = 1.0) -> Inequality:
    """The most episodes of any run against the bound; the trivial bound is the one without offline data."""
    most = [
        (task, task.offline, EPS, float(play(i, RUNS[budget.name] // 2, budget.seed).episodes.max()))
        for i, task in enumerate(tasks())
    ]
    grid = at_accuracies(accuracy_runs(budget), budget.seed).max(axis=0).tolist()
    most += [(tasks()[0], 0, eps, episodes) for eps, episodes in zip(ACCURACIES, grid)]
    found = []
    for task, offline, eps, episodes in most:
        # top-ups: random counts may fall short of what was expected, by some percent in these runs
        bound = share * 1.1 * complexity(task, offline, eps)
        if bound > 0:
            found.append((episodes / bound, task, eps, episodes, bound))
    ratio, task, eps, episodes, bound = max(found, key=lambda x: x[0])
    trivial = complexity(task, 0, eps)
    witness = {"task": task.name, "eps": eps, "episodes": episodes, "bound": bound,
               "bound without offline data": trivial}  # fmt: skip
    n = len(most)
    return Inequality(ratio, episodes - bound, 0.0, n, n, n, n, witness)


SIZES = (0, 4_000, 16_000, 64_000)


def _savings_check(budget: Budget, reverse: bool = False) -> Comparison:
    """Episodes without offline data minus those with 64 000 offline episodes; a tenth of the former is of interest."""
    runs = {"smoke": 60, "standard": 120}.get(budget.name, 400)
    without, with_ = (play(0, runs, budget.seed, offline=n).episodes for n in (SIZES[0], SIZES[-1]))
    first, second = (with_, without) if reverse else (without, with_)
    return sign_comparison(first, second, effect=0.1 * float(without.mean()))


def _accuracy_check(budget: Budget, exponent: float = 2.0) -> Rate:
    """Episodes over 1/eps for the random task without data."""
    episodes = at_accuracies(accuracy_runs(budget), budget.seed)
    return sign_rate(1 / np.array(ACCURACIES), episodes, exponent=exponent, side="at most", resolution=0.2)


TABLES = Space(
    {"S": (1, 2), "A": (1, 2)},
    {"P": Simplex("SAS"), "r": Box("SA", 0, 1), "hits": Box("SAS", 1, 9, step=1), "paid": Box("SA", 0, 1)},
)


def _identity(P: Array, r: Array, hits: Array, paid: Array, *, planned: bool) -> Trial:
    r"""The error identity of the estimate on given counts, two steps, all policies: both sides in float64."""
    mdp = StagedMDP(np.stack([P, P]), np.stack([r, r]))
    log = Log(np.stack([hits, hits]), np.stack([paid, paid]) * hits.sum(axis=2))
    policies, S, A = deterministic_policies(mdp), mdp.n_states, mdp.n_actions
    v, worst = values(mdp, policies), 0.0
    geometry = geometry_of(mdp, log.visits[0], None)
    targets = first_targets(mdp, policies, geometry)
    model = estimated(log, mdp.initial)
    if planned:  # the other side with the plan's values in place of the true ones
        v = values(model, policies)
    estimate, identity = np.zeros(len(policies)), np.zeros(len(policies))
    for h in range(2):
        geometry = geometry_of(mdp, log.visits[h], None)
        counted = geometry.weights(targets, geometry.metric(np.zeros(S * A)))
        estimate += counted @ log.rewards[h].ravel()
        q = mdp.r[h].ravel() + v[h + 1] @ mdp.P[h].reshape(S * A, S).T  # [n, S * A]
        seen = log.rewards[h].ravel() + v[h + 1] @ log.transitions[h].reshape(S * A, S).T
        identity += (counted * (seen - q * log.visits[h].ravel())).sum(axis=1)
        if h == 0:
            targets = next_targets(counted @ log.transitions[0].reshape(-1, S), policies, 1, A, geometry)
    true = values(mdp, policies)[0] @ mdp.initial
    worst = float(abs(estimate - true - identity).max())
    return Trial(worst, 1e-12)


def _identity_check(budget: Budget, planned: bool = False) -> Identity:
    return equate(TABLES, partial(_identity, planned=planned), budget)


ORACLE = "exploration by the optimal design of the true MDP (oracle), derived constant"
KINDS = (
    "on each of: four arms with gaps of 0.22 and more, a random MDP, a lock and a river, logs of 20, no, 2 000 and "
    "20 000 episodes of uniform play"
)
CUT = r"the same with $\beta/2000$, on the four arms."
SETTING = rf"$\epsilon={EPS}$, $\delta={DELTA}$, Bernoulli rewards, fixed logging policy"

CLAIMS = (
    claim(
        id="ftpedel/error-identity",
        source="ours, for the analysis of Algorithm 2",
        statement=r"$\hat V^\pi-V^\pi=\sum_h\sum_\tau(\hat\phi_{\pi,h}^\top\Lambda_h^{-1}\phi_{\tau,h})\,"
        r"(r+V^\pi_{h+1}(s')-Q^\pi_h(s,a))$ with the true values.",
        kind=Identity,
        premises=(TABULAR, "two steps, every pair visited"),
        check=_identity_check,
        control=partial(_identity_check, planned=True),
        control_statement="the same with the values of the estimated MDP.",
    ),
    claim(
        id="ftpedel/estimates-hold",
        source="ours, in place of Lemma of the confidence sets",
        statement=r"With probability $1-\delta$ all estimates of guarded policies in all epochs are within "
        r"$\epsilon_\ell$.",
        kind=Probability,
        premises=(TABULAR, ORACLE, SETTING),
        check=_estimates_check,
        control=partial(_estimates_check, share=1 / 50),
        control_statement=r"the same with $\beta/50$.",
    ),
    claim(
        id="ftpedel/estimates-hold-published",
        source="Algorithm 2, with the constant of Wagenmaker & Jamieson (2022), Algorithm 1",
        statement=r"The same with the published $\beta_\ell=36H^4\log\frac{4H^2|\Pi|\ell^2}{\delta}$.",
        kind=Probability,
        premises=(TABULAR, ORACLE.replace("derived", "published"), SETTING),
        check=partial(_estimates_check, constant=published_beta),
        control=partial(_estimates_check, constant=published_beta, share=1 / 10_000),
        control_statement=r"the same with $\beta/10000$.",
    ),
    claim(
        id="ftpedel/returns-a-good-policy",
        source="Theorem 1 (upper bound)",
        statement=r"With probability $1-\delta$ FTPedel returns an $\epsilon$-optimal policy.",
        kind=Probability,
        premises=(TABULAR, ORACLE, SETTING, KINDS),
        check=partial(good_policies, explorer=ORACLES),
        control=partial(good_policies, explorer=ORACLES, share=1 / 2000, cases=CASES[:1]),
        control_statement=CUT,
    ),
    claim(
        id="ftpedel/returns-a-good-policy-learned",
        source="Theorem 1 (upper bound)",
        statement=r"The same with the design made of what was seen so far.",
        kind=Probability,
        premises=(
            TABULAR,
            "plug-in design with a tenth of uniform play",
            SETTING,
            KINDS,
        ),
        check=partial(good_policies, explorer=SEEN),
        control=partial(good_policies, explorer=SEEN, share=1 / 2000, cases=CASES[:1]),
        control_statement=CUT,
    ),
    claim(
        id="ftpedel/episodes",
        source="Theorem 1 (upper bound; constants ours)",
        statement=r"The online episodes are at most $\lceil\log_2\frac4\epsilon\rceil\sum_hT_{o2o}(64\beta)$, up to "
        r"a tenth "
        "for random counts.",
        kind=Inequality,
        premises=(TABULAR, ORACLE, SETTING, f"the random MDP without data also for $\\epsilon$ of {ACCURACIES}"),
        check=_episodes_check,
        control=partial(_episodes_check, share=1 / 200),
        control_statement="they are at most a two-hundredth of that.",
    ),
    claim(
        id="ftpedel/offline-data-save-episodes",
        source="abstract",
        statement="With 64 000 offline episodes FTPedel plays fewer online episodes, by a tenth at least.",
        kind=Comparison,
        premises=(TABULAR, ORACLE, SETTING, "random MDP of 81 policies", PAIRED),
        check=_savings_check,
        control=partial(_savings_check, reverse=True),
        control_statement="it plays more.",
    ),
    claim(
        id="ftpedel/rate-in-accuracy",
        source="Theorem 1 (upper bound)",
        statement=r"The online episodes grow at most like $\epsilon^{-2}$.",
        kind=Rate,
        premises=(TABULAR, ORACLE, "random MDP of 81 policies, no offline data", f"accuracies {ACCURACIES}", RUNWISE),
        check=_accuracy_check,
        control=partial(_accuracy_check, exponent=1.0),
        control_statement=r"they grow at most like $\epsilon^{-1}$.",
    ),
)
