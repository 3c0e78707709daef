r"""What only data of both kinds can do, and what can be output but not verified."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache, partial
from math import log

import numpy as np
from numpy.random import Generator
from scipy.stats import norm

from claimlab.checks import Array, Ints
from claimlab.experiments.papers.ftpedel.coefficient import bandit, bandit_episodes
from claimlab.experiments.papers.ftpedel.common import DETERMINISTIC, claim
from claimlab.experiments.papers.ftpedel.learning import scaled_beta
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage import o2o_episodes
from claimlab.mdps.fine_tuning import Oracle, derived_beta, fine_tune
from claimlab.mdps.instances import combination_lock
from claimlab.mdps.linear_instances import one_hot
from claimlab.mdps.logs import Log
from claimlab.mdps.offline import pevi
from claimlab.mdps.offline_to_online import offline_to_online
from claimlab.mdps.staged import StagedMDP, staged, staged_occupancy, staged_optimum, staged_value
from claimlab.mdps.tabular import EPS as ULP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Identity, Inequality, Probability, probability
from claimlab.theory.exact_comparisons import bounded_comparison
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Space

# Theorem C3: K arms, all but one covered


def _both(K: Array, eps: Array, beta: Array, *, covered: int) -> Trial:
    """Online episodes with offline data over K times 1/K of those without, all arms within eps of the best.

    Offline data cover all arms but `covered`, as the log of a user who never tried those.
    """
    arms, width, weight = int(K), float(eps), float(beta)
    need = np.ceil(weight / width**2)
    n = np.where(np.arange(arms) < arms - covered, need, 0.0)
    r = np.full(arms, 0.5)
    design = o2o_episodes(bandit(r), 0, width, weight, n[None], tol=1e-7)
    alone = bandit_episodes(r, 0 * n, width, weight)
    off = max(design.lower - alone / arms, alone / arms - design.value, 0.0)
    return Trial(off / alone, 1e-6)


def _tree(K: Array, eps: Array, beta: Array, *, covered: int) -> Trial:
    """The same in a tree: K actions lead to K states, in which K actions are equal; the log left out one way."""
    arms, width, weight = int(K), float(eps), float(beta)
    P, r = np.zeros((2, arms + 1, arms, arms + 1)), np.zeros((2, arms + 1, arms))
    P[0, 0, :, 1:], P[0, 1:, :, 0], P[1, :, :, 0], r[1] = np.eye(arms), 1.0, 1.0, 0.5
    n, need = np.zeros(r.shape), np.ceil(weight / width**2)
    n[0, 0, : arms - covered], n[1, 1 : arms + 1 - covered] = need, need
    designs = [o2o_episodes(StagedMDP(P, r), h, width, weight, n[h], tol=1e-7) for h in range(2)]
    lower, value = (sum(ends) for ends in zip(*((design.lower, design.value) for design in designs)))
    alone = (arms + arms**2) * weight / width**2
    return Trial(max(lower - alone / arms, alone / arms - value, 0.0) / alone, 1e-6)


def _tree_check(budget: Budget, covered: int = 1) -> Identity:
    space = Space({}, {"K": Box("", 2, 6, step=1), "eps": Box("", 0.05, 0.4), "beta": Box("", 1, 20)})
    return equate(space, partial(_tree, covered=covered), budget.with_instances(min(budget.instances, 60)))


def _both_check(budget: Budget, covered: int = 1) -> Identity:
    space = Space({}, {"K": Box("", 2, 10, step=1), "eps": Box("", 0.05, 0.4), "beta": Box("", 1, 20)})
    return equate(space, partial(_both, covered=covered), budget.with_instances(min(budget.instances, 60)))


# Theorem C4: verifiable against unverifiable

ARMS, COVERED = (0.7, 0.5), 400  # means, and offline pulls of the first arm alone


def pessimistic_arm(total: Array, pulls: Array, delta: float) -> int:
    """The arm with the largest lower confidence bound (Hoeffding); arms without data have none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = np.where(pulls > 0, total / pulls - np.sqrt(log(2 * len(pulls) / delta) / (2 * pulls)), 0.0)
    return int(lower.argmax())


@lru_cache(maxsize=4)
def chosen(other: float, runs: int, seed: int) -> Ints:
    """The arm that pessimism outputs after the offline data, without any online episode, when the other pays
    `other`."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 5]))
    total = rng.binomial(COVERED, ARMS[0], size=runs)  # the same law for every `other`: it was never pulled
    return np.array([pessimistic_arm(np.array([t, 0.0]), np.array([COVERED, 0.0]), 0.1) for t in total])


def _unverified_check(budget: Budget, other: float = ARMS[1], eps: float = 0.1) -> Probability:
    """Runs whose arm is not eps-optimal."""
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 20_000)
    means = np.array([ARMS[0], other])
    failures = (means.max() - means[chosen(other, runs, budget.seed)] > eps).sum()
    return probability(int(failures), runs, 0.1)


def _confusion(gap: Array, eps: Array, pulls: Array, *, share: float) -> Trials:
    r"""Gaussian arms of unit variance: the least of the largest error of any rule against :math:`\frac14e^{-KL}`.

    The rule sees `pulls` of the other arm, whose mean is either `gap` below the best or `eps` above it; the best rule
    for two points has the error :math:`\Phi(-\frac12(\Delta+\epsilon)\sqrt n)`, and
    :math:`KL=\frac n2(\Delta+\epsilon)^2`.
    """
    apart = gap + eps
    least = norm.cdf(-apart * np.sqrt(pulls) / 2)
    return Trials(0.25 * np.exp(-share * pulls * apart**2 / 2), least, 64 * ULP)


def _confusion_check(budget: Budget, share: float = 1.0) -> Inequality:
    space = Space({}, {"gap": Box("", 0, 1), "eps": Box("", 0.01, 0.5), "pulls": Box("", 0, 100, step=1)})
    measure = partial(_confusion, share=share)
    return attack(space, measure, budget.with_instances(20 * budget.instances), batched=True)


def _expert(H: Array, beta: Array, n: Array, eps: Array, *, expert: bool) -> Trial:
    r"""A lock of H steps with two actions and a log of n episodes of its expert, enough for all that the expert does.

    Every other policy has a gap of 1, and nobody saw the wrong action in the H states on the way, which is
    :math:`\beta` visits each, nor either action after a mistake, :math:`2\beta` for each step but the first.
    """
    mdp, weight, width = staged(combination_lock(int(H))), float(beta), float(eps)
    best = staged_optimum(mdp)
    w = staged_occupancy(mdp, best.policy if expert else np.full(mdp.r.shape, 0.5))
    log = Log(np.ceil(float(n) * weight / width**2 * w)[..., None] * mdp.P, np.zeros(w.shape))
    needs = offline_to_online(mdp, log, width, beta=weight, tol=1e-6)
    chosen = pevi(one_hot(mdp), log.transitions).policy
    exact = weight * (3 * mdp.horizon - 2)
    off = abs(needs.episodes - exact) / exact + float(np.isfinite(needs.verifiable))
    return Trial(off + best.value - staged_value(mdp, chosen), 1e-5)


def _expert_check(budget: Budget, expert: bool = True) -> Identity:
    fields = {"H": Box("", 2, 5, step=1), "beta": Box("", 1, 20), "n": Box("", 1, 10), "eps": Box("", 0.05, 0.5)}
    return equate(Space({}, fields), partial(_expert, expert=expert), budget.with_instances(min(budget.instances, 30)))


# Lower bound


def bernoulli_divergence(p: Array, q: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(p > 0, p * np.log(p / q), 0.0)
        second = np.where(p < 1, (1 - p) * np.log((1 - p) / (1 - q)), 0.0)
    return np.asarray(first + second)


def verifiable_pulls(r: Array, n: Array, eps: float, delta: float) -> float:
    r"""Ours: what every verifiable :math:`(\epsilon,\delta)`-PAC rule must pull on average, Bernoulli arms.

    :math:`\sum_{a:\Delta_a>\epsilon}\bigl[\log\frac{1}{2.4\delta}/kl(\mu_a,\mu_a+\Delta_a+\epsilon)-N_a\bigr]_+`:
    raising arm a to more than eps above the best must change the output (change of measure, Kaufmann, Cappe & Garivier
    2016).
    """
    gap = r.max() - r
    raised = np.minimum(r + gap + eps, 1 - 1e-12)
    needed = log(1 / (2.4 * delta)) / bernoulli_divergence(r, raised)
    return float(np.where(gap > eps, np.maximum(needed - n, 0), 0.0).sum())


BANDIT, PULLS = np.array([0.6, 0.3, 0.2, 0.1]), np.array([30.0, 5.0, 0.0, 0.0])


def _lower_check(budget: Budget, share: float = 1.0, most: float = 5e4) -> Comparison:
    """Online pulls of FTPedel, cut at `most`, less the lower bound, which has to be positive on average."""
    runs, eps, delta = {"smoke": 60, "standard": 200}.get(budget.name, 1_000), 0.2, 1e-6
    mdp, beta = bandit(BANDIT), partial(scaled_beta, share, derived_beta)
    oracle, pulls = Oracle(mdp, eps, delta, PULLS[None, None], beta=beta), np.full(runs, most)
    for run in range(runs):
        rng = np.random.default_rng(np.random.SeedSequence([budget.seed, 9, run]))
        with suppress(NotConverged):
            pulls[run] = fine_tune(
                mdp, oracle, eps, delta, rng, offline=logged(PULLS, rng), beta=beta, limit=most
            ).episodes  # fmt: skip
    return bounded_comparison(pulls, verifiable_pulls(BANDIT, PULLS, eps, delta), most=most)


def logged(n: Array, rng: Generator) -> Log:
    return Log(n[None, None, :, None], rng.binomial(n.astype(int), BANDIT)[None, None].astype(float))


CLAIMS = (
    claim(
        id="ftpedel/both-beat-either",
        source="abstract; example of Section 4",
        statement=r"With $K$ equal arms, all but one covered by $\beta/\epsilon^2$ offline pulls, the online "
        r"episodes are exactly "
        r"$1/K$ of those without offline data, and offline data alone cannot verify.",
        kind=Identity,
        premises=("a bandit of $K$ arms of equal means",),
        check=_both_check,
        control=partial(_both_check, covered=2),
        control_statement="the same when two arms are not covered.",
    ),
    claim(
        id="ftpedel/both-beat-either-tree",
        source="abstract; example of Section 4",
        statement=r"In a tree of two steps, with $\beta/\epsilon^2$ offline visits of everything behind all first "
        r"actions but one, the online episodes of both steps are exactly $1/K$ of those without offline data.",
        kind=Identity,
        premises=("$K$ actions to $K$ states of $K$ actions of equal means",),
        check=_tree_check,
        control=partial(_tree_check, covered=2),
        control_statement="the same when two first actions are not covered.",
    ),
    claim(
        id="ftpedel/unverified-output",
        source="abstract (verifiable against unverifiable)",
        statement=r"Pessimism outputs an $\epsilon$-optimal arm with probability 0.9 and no online episode, when the "
        r"arm that the "
        r"log covers is the better one.",
        kind=Probability,
        premises=(f"two arms of means {ARMS}, {COVERED} offline pulls of the first", r"$\epsilon=0.1$"),
        check=_unverified_check,
        control=partial(_unverified_check, other=0.9),
        control_statement="the same when the other arm pays 0.9: the log has the same law, so no stopping rule can "
        "tell.",
    ),
    claim(
        id="ftpedel/expert-alone",
        source="abstract (verifiable against unverifiable), on a combination lock",
        statement=(
            r"With any log of the expert alone, of at least $\beta/\epsilon^2$ episodes, pessimism outputs the optimal "
            r"policy without an online episode, and yet verifying it needs $\sum_hT_{o2o}=\beta(3H-2)$, whatever the "
            r"size of the log."
        ),
        kind=Identity,
        premises=("a combination lock of $H$ steps and two actions", "pessimistic value iteration", DETERMINISTIC),
        check=_expert_check,
        control=partial(_expert_check, expert=False),
        control_statement="the same with a log of uniform play.",
    ),
    claim(
        id="ftpedel/price-of-verification",
        source="Theorem 3 (verifiable learning; two points, ours)",
        statement=r"Any rule that sees $n$ pulls of the uncovered arm errs with probability at least "
        r"$\frac14e^{-n(\Delta+\epsilon)^2/2}$ on one of two instances with the same offline law.",
        kind=Inequality,
        premises=("two Gaussian arms of unit variance, the first covered by any offline data",),
        check=_confusion_check,
        control=partial(_confusion_check, share=0.125),
        control_statement=r"it errs with probability at least $\frac14e^{-n(\Delta+\epsilon)^2/16}$.",
    ),
    claim(
        id="ftpedel/lower-bound",
        source="Theorem 2 (lower bound; bandit form with constants ours)",
        statement=r"FTPedel, which verifies, plays at least "
        r"$\sum_{\Delta_a>\epsilon}[\log\frac{1}{2.4\delta}/kl(\mu_a,\mu^*+\epsilon)-N_a]_+$ online episodes on "
        r"average.",
        kind=Comparison,
        premises=(
            f"Bernoulli arms {BANDIT.tolist()}, offline pulls {PULLS.astype(int).tolist()}",
            r"$\epsilon=0.2,\delta=10^{-6}$",
            "runs are cut at 50 000 episodes",
        ),
        check=_lower_check,
        control=partial(_lower_check, share=1 / 1000, most=100.0),
        control_statement=r"so does FTPedel with $\beta/1000$, which verifies nothing, cut at 100 episodes.",
    ),
)
