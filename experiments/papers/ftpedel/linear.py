r"""Linear MDPs: widths of least squares, pessimism from logs, and designs by Frank-Wolfe.

The regret of LSVI-UCB (Jin et al. 2020, Theorem 3.1) has no claim: with widths that cover, it still explores uniformly
after 2^13 episodes of the smallest instances, so that its rate cannot be seen at sizes that can be run.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.ftpedel.coefficient import few, two_steps
from claimlab.experiments.papers.ftpedel.common import claim
from claimlab.mdps.coverage import cover
from claimlab.mdps.design import frank_wolfe
from claimlab.mdps.episodes import EpisodeRecord, play_episodes
from claimlab.mdps.linear import LinearMDP, deterministic_policies
from claimlab.mdps.linear_instances import informative_detour, simplex_linear_mdp
from claimlab.mdps.lsvi import LSVIUCB
from claimlab.mdps.offline import evaluate_offline, pevi
from claimlab.mdps.prefixes import prefixes
from claimlab.mdps.staged import staged_occupancy, staged_optimum, staged_value, transition_data
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Inequality, Probability, comparison, probability
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.spaces import Box, Simplex, Space

LINEAR = "a linear MDP with simplex features: d = 3, five states, two actions, two steps"
DELTA = 0.1


@lru_cache(maxsize=1)
def instance() -> LinearMDP:
    return simplex_linear_mdp(3, 5, 2, 2, np.random.default_rng(2020))


@lru_cache(maxsize=8)
def learned(scale: float, episodes: int, runs: int, seed: int) -> EpisodeRecord:
    return play_episodes(
        LSVIUCB(instance().phi, delta=DELTA, scale=scale), instance().staged, episodes=episodes, runs=runs, seed=seed,
        checkpoints=12, keep_states=True,
    )  # fmt: skip


def _optimism_check(budget: Budget, scale: float = 1.0) -> Probability:
    """Runs of LSVI-UCB with a plan below the optimum."""
    runs, episodes = {"smoke": 200, "standard": 500}.get(budget.name, 2_000), 100
    best, rounding = staged_optimum(instance().staged).value, 1e-9
    lowest = np.array([state.lowest[0] for state in learned(scale, episodes, runs, budget.seed).states])
    return probability(int((lowest < best - rounding).sum()), runs, DELTA)


@lru_cache(maxsize=4)
def logs(scale: float, runs: int, size: int, seed: int) -> tuple[Array, Array, Array]:
    """For each log: shortfall of PEVI, twice the optimal policy's widths, and the certificate's excess."""
    mdp, rng, out = instance(), np.random.default_rng(np.random.SeedSequence([seed, 3])), np.zeros((3, runs))
    best, even = staged_optimum(mdp.staged), np.full(mdp.staged.r.shape, 0.5)
    visited = staged_occupancy(mdp.staged, best.policy)
    for run in range(runs):
        found = pevi(mdp, transition_data(mdp.staged, even, size, rng), delta=DELTA, scale=scale)
        worth = staged_value(mdp.staged, found.policy)
        out[:, run] = best.value - worth, 2 * (visited * found.bonus).sum(), found.value - worth
    return out[0], out[1], out[2]


def _pessimism_check(budget: Budget, scale: float = 1.0, part: int = 1) -> Probability:
    """Logs for which the bound on the shortfall fails (part 1), or the certificate is above the truth (part 2)."""
    runs = {"smoke": 200, "standard": 500}.get(budget.name, 2_000)
    shortfall, widths, excess = logs(scale, runs, 50, budget.seed)
    failed = shortfall > widths + 1e-9 if part == 1 else excess > 1e-9
    return probability(int(failed.sum()), runs, DELTA)


def _evaluation_check(budget: Budget, share: float = 1.0) -> Probability:
    """Logs for which some policy's estimate misses by more than its share of the widths."""
    runs = {"smoke": 200, "standard": 500}.get(budget.name, 2_000)
    mdp, rng = instance(), np.random.default_rng(np.random.SeedSequence([budget.seed, 4]))
    class_ = deterministic_policies(mdp)
    true = np.array([staged_value(mdp.staged, pi) for pi in class_.policies])
    even, failures = np.full(mdp.staged.r.shape, 0.5), 0
    for _ in range(runs):
        data = transition_data(mdp.staged, even, 100, rng)
        found, widths = evaluate_offline(mdp, class_, data), pevi(mdp, data, delta=DELTA).state.beta
        failures += bool((abs(found.value - true) > share * (found.norms @ widths)).any())
    return probability(failures, runs, DELTA)


# Frank-Wolfe

DESIGNS = Space({"S": (1, 2), "A": (1, 3)}, {"P": Simplex("SAS"), "r": Box("SA", 0, 1), "n": Box("SA", 0, 2)})


def _converged_check(budget: Budget, iterations: int = 1000) -> Inequality:
    """No design with one episode reaches norms two percent lower."""
    fewer = budget.with_instances(few(budget).instances // 2)
    return attack(DESIGNS, partial(_worse, iterations=iterations), fewer)


def _worse(P: Array, r: Array, n: Array, *, iterations: int) -> Trial:
    mdp = two_steps(P, r)
    targets = prefixes(mdp, 1).occupancy.reshape(-1, mdp.n_states * mdp.n_actions)
    found, best = (frank_wolfe(mdp, 1, targets, n, iterations=k) for k in (iterations, 4_000))
    return Trial(found.value, 1.02 * best.value)


def _gap(P: Array, r: Array, n: Array, *, share: float) -> Trial:
    """The certificate: value less Frank-Wolfe gap is below the optimum, which the program brackets."""
    mdp = two_steps(P, r)
    targets = prefixes(mdp, 1).occupancy.reshape(-1, mdp.n_states * mdp.n_actions)
    found = frank_wolfe(mdp, 1, targets, n, iterations=200)
    lower = found.value - share * found.gap
    # if norms of `lower` and less can be had for one episode, the least number of episodes for them is at most one
    program = cover(mdp, 1, targets, lower * (1 - 1e-6), n)
    return Trial(1.0, program.value)


def _gap_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(DESIGNS, partial(_gap, share=share), few(budget))


# Low regret is not enough


@lru_cache(maxsize=8)
def detour_norms(arms: int, runs: int, seed: int, exploring: bool) -> Array:
    """The largest squared norm of a good action per episode under what was played, in designs' worth, float[runs]."""
    mdp, episodes = informative_detour(arms), 2_000
    targets = mdp.phi[1]
    design = frank_wolfe(mdp.staged, 1, targets, features=mdp.phi, iterations=2_000)
    out = np.empty(runs)
    for run in range(runs):
        rng = np.random.default_rng(np.random.SeedSequence([seed, arms, run]))
        if exploring:
            hits = transition_data(mdp.staged, design.policy, episodes, rng)[1].sum(axis=2)
        else:
            record = play_episodes(
                LSVIUCB(mdp.phi, delta=DELTA, scale=0.05), mdp.staged, episodes=episodes, runs=1,
                seed=int(rng.integers(2**31)), checkpoints=1, keep_states=True,
            )  # fmt: skip
            hits = record.states[0].hits[1].sum(axis=2)
        covariance = np.einsum("sa,sai,saj->ij", hits, mdp.phi, mdp.phi) / episodes
        inverse = np.linalg.inv(covariance + np.eye(mdp.dim) / episodes)  # the regularised one of the learner
        out[run] = np.einsum("ni,ij,nj->n", targets, inverse, targets).max() / design.value
    return out


def _low_regret_check(budget: Budget, exploring: bool = False) -> Comparison:
    """How many times the design's episodes a learner's own visits need: more than twice, on average over runs."""
    runs = {"smoke": 20, "standard": 40}.get(budget.name, 100)
    norms = detour_norms(25, runs, budget.seed, exploring)
    return comparison(np.log(norms), np.zeros(runs), effect=float(np.log(2)), rng=budget.rng("bootstrap"))


def _detour(arms: Array, *, most: float) -> Trial:
    """The value of the design on the detour instance."""
    mdp = informative_detour(int(arms))
    found = frank_wolfe(mdp.staged, 1, mdp.phi[1], features=mdp.phi, iterations=400)
    return Trial(found.value, most, trivial=float(arms))


def _detour_check(budget: Budget, most: float = 8.0) -> Inequality:
    space = Space({}, {"arms": Box("", 2, 24, step=1)})
    return attack(space, partial(_detour, most=most), budget.with_instances(min(budget.instances, 12)))


CLAIMS = (
    claim(
        id="ftpedel/lsvi-ucb-optimism",
        source="Jin et al. (2020), Lemma B.5 (widths ours)",
        statement=r"With probability $1-\delta$ no plan of LSVI-UCB is below the optimum.",
        kind=Probability,
        premises=(LINEAR, f"$\\delta={DELTA}$, 100 episodes"),
        check=_optimism_check,
        control=partial(_optimism_check, scale=0.05),
        control_statement="the same with a twentieth of the widths.",
    ),
    claim(
        id="ftpedel/pessimism-shortfall",
        source="Jin, Yang & Wang (2021), Theorem 4.4 (widths ours)",
        statement=r"With probability $1-\delta$ the policy of PEVI loses at most "
        r"$2E_{\pi^*}\sum_h\beta_h\|\phi\|_{\Lambda_h^{-1}}$: data on the optimal policy alone suffice.",
        kind=Probability,
        premises=(LINEAR, "50 episodes of uniform play"),
        check=_pessimism_check,
        control=partial(_pessimism_check, scale=0.0),
        control_statement="the same with widths of zero.",
    ),
    claim(
        id="ftpedel/pessimism-certificate",
        source="Jin, Yang & Wang (2021), Theorem 4.4 (widths ours)",
        statement=r"With probability $1-\delta$ the value that PEVI certifies is at most that of its policy.",
        kind=Probability,
        premises=(LINEAR, "50 episodes of uniform play"),
        check=partial(_pessimism_check, part=2),
        control=partial(_pessimism_check, part=2, scale=0.0),
        control_statement="the same with widths of zero.",
    ),
    claim(
        id="ftpedel/evaluation-widths",
        source="ours, for the estimates of Algorithm 2",
        statement=r"With probability $1-\delta$, for all policies at once, "
        r"$|\hat v^\pi-v^\pi|\le\sum_h\beta_h\|\hat\phi_{\pi,h}\|_{\Lambda_h^{-1}}$.",
        kind=Probability,
        premises=(LINEAR, "all deterministic policies; 100 episodes of uniform play"),
        check=_evaluation_check,
        control=partial(_evaluation_check, share=0.02),
        control_statement="the same with a fiftieth of it.",
    ),
    claim(
        id="ftpedel/frank-wolfe-converges",
        source="Section 5 of Wagenmaker & Jamieson (2022)",
        statement="After 1000 iterations Frank-Wolfe on the smoothed maximum is within two percent of the optimum "
        "(of 4000).",
        kind=Inequality,
        premises=("tabular, two steps, all deterministic prefixes", "offline data of up to two episodes a pair"),
        check=_converged_check,
        control=partial(_converged_check, iterations=5),
        control_statement="after five iterations it is.",
    ),
    claim(
        id="ftpedel/frank-wolfe-certificate",
        source="ours, on Section 5 of Wagenmaker & Jamieson (2022)",
        statement="The Frank-Wolfe gap bounds the distance to the optimum: no design of one episode has norms below "
        "value less gap.",
        kind=Inequality,
        premises=(
            "tabular, two steps, all deterministic prefixes",
            "200 iterations; against the certified cone program",
        ),
        check=_gap_check,
        control=partial(_gap_check, share=0.0),
        control_statement="no design has norms below the value.",
    ),
    claim(
        id="ftpedel/detour-design",
        source="ours, after Propositions 3 and 4 of Wagenmaker & Jamieson (2022)",
        statement=r"On the instance with an informative detour a design has $\max_i\|x_i\|^2_{\Lambda^{-1}}\le8$ for "
        r"any number $n$ of "
        r"good actions, where visiting good actions alone has $n$.",
        kind=Inequality,
        premises=("two to twenty-four good actions",),
        check=_detour_check,
        control=partial(_detour_check, most=3.0),
        control_statement="it has at most 3.",
    ),
    claim(
        id="ftpedel/low-regret-is-not-enough",
        source="Propositions 3 and 4 of Wagenmaker & Jamieson (2022)",
        statement="What LSVI-UCB visits needs more than twice the episodes of the optimal design to tell the good "
        "actions apart.",
        kind=Comparison,
        premises=("the detour instance with 25 good actions", "2000 episodes, a twentieth of the widths"),
        check=_low_regret_check,
        control=partial(_low_regret_check, exploring=True),
        control_statement="so does what the design visits.",
    ),
)
