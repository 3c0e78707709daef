"""Why a policy can be certified from data: confidence sets, and bounds for every policy at once.

Statements about one moment are attacked with transitions, frequencies and radii that an adversary chooses: balls that
just contain the truth are the hardest, and they are what the search draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.experiments.papers.stepmix.common import (
    AROUND,
    EVENT,
    SIZES,
    TABULAR,
    around,
    claim,
    knowledge,
)
from claimlab.mdps.beliefs import lower_bound, new_beliefs, plan_optimism, upper_bound
from claimlab.mdps.confidence import BernsteinSets, L1Sets, l1_radius
from claimlab.mdps.instances import deep_sea, episodic_river_swim
from claimlab.mdps.optimistic import Knowledge
from claimlab.mdps.staged import (
    StagedMDP,
    draw,
    evaluate,
    softened,
    staged,
    staged_optimum,
    staged_value,
    transition_data,
)
from claimlab.native import kernel
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Inequality, Probability, probability
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.spaces import Case, Space

SETS = L1Sets()

# Bounds for every policy ---------------------------------------------------------------------------------------------

BALLS = Space(SIZES, AROUND)


def set_up(
    P: Array, Q: Array, r: Array, mix: Array, extra: Array, scale: float = 1.0
) -> tuple[StagedMDP, Knowledge, float]:
    """The true MDP, a learner's state whose balls contain it (for scale 1), and the rounding of its bounds."""
    mdp = StagedMDP(P, r)
    frequencies, radii = around(P, Q, mix, extra)
    return mdp, knowledge(frequencies, scale * radii, r), 8 * mdp.rounding


def _every_policy(P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, *, scale: float) -> Trial:
    mdp, (b, _, initial, _), error = set_up(P, Q, r, mix, extra, scale)
    value = staged_value(mdp, pi)
    low = lower_bound(SETS, b, r, initial, pi, len(r))
    high = upper_bound(SETS, b, r, initial, pi, len(r))
    below, above = Trial(low, value, error), Trial(value, high, error, trivial=float(len(r)))
    return max(below, above, key=lambda trial: (trial.violated, trial.ratio))


def _every_policy_check(budget: Budget, scale: float = 1.0) -> Inequality:
    return attack(BALLS, partial(_every_policy, scale=scale), budget)


@kernel
def _escapes(law: Array, length: int, delta: float, scale: float, rng: Generator) -> bool:
    """Whether the frequencies of `length` draws ever lie further from `law` than the radius."""
    counts = np.zeros(law.size)
    for n in range(1, length + 1):
        counts[draw(law, 0, law.size, rng)] += 1
        distance = 0.0
        for i in range(law.size):
            distance += abs(counts[i] / n - law[i])
        if distance > l1_radius(1.0 * n, (1, law.size, 1), delta, scale):
            return True
    return False


LAWS = (np.array([0.5, 0.5]), np.full(4, 0.25), np.array([0.98, 0.01, 0.01]), np.array([0.5, 0.5, 0.0]))


def _coverage_check(budget: Budget, scale: float = 1.0, delta: float = 0.1) -> Probability:
    rng = budget.rng("streams")
    length = 1000 if budget.name == "smoke" else 10_000
    failures = sum(_escapes(LAWS[i % len(LAWS)], length, delta, scale, rng) for i in range(budget.runs))
    return probability(failures, budget.runs, delta)


def _misses(mdp: StagedMDP, hits: Array, scale: float) -> bool:
    """Whether BPI-UCBVI's bounds after these transitions miss the optimum, or the value of a policy chosen from them.

    The policies are those of optimism, of the frequencies, and of the luckiest rows, which no learner knows.
    """
    H, S, A = mdp.r.shape
    sets, best, n = BernsteinSets(0.1, scale), staged_optimum(mdp), hits.sum(axis=3, keepdims=True)
    frequencies = np.where(n > 0, hits / np.maximum(n, 1), 1 / S)
    b = new_beliefs(sets, H, S, A, hits)
    plan_optimism(sets, b, mdp.r)
    believed = staged_optimum(StagedMDP(frequencies, mdp.r))
    luck = np.einsum("hsat,ht->hsa", frequencies - mdp.P, best.v[1:])
    policies = [np.eye(A)[b.greedy], believed.policy, np.eye(A)[luck.argmax(axis=2)]]
    failed = bool((b.upper < best.v - mdp.rounding).any())
    for pi in policies:
        v = np.zeros((H + 1, S))
        evaluate(mdp, pi, v)
        lower_bound(sets, b, mdp.r, mdp.initial, pi, H)
        failed = failed or bool((b.trial > v + mdp.rounding).any())
    return failed


def _random_visits(rng: Generator) -> tuple[StagedMDP, Array]:
    """Each pair visited between 10 and 10 million times: below some thousand visits the bonuses exceed H."""
    mdp = StagedMDP(rng.dirichlet(np.full(3, 0.3), size=(3, 3, 2)), rng.random((3, 3, 2)))
    return mdp, rng.multinomial(np.floor(10 ** rng.uniform(1, 7, size=(3, 3, 2))).astype(np.int64), mdp.P).astype(float)


@cache
def _hard_instances() -> tuple[StagedMDP, StagedMDP]:
    return staged(episodic_river_swim(6, 6)), staged(deep_sea(4, slip=0.25, cost=0.0))


def _hard_visits(rng: Generator) -> tuple[StagedMDP, Array]:
    """RiverSwim or a DeepSea with slips after a thousand to ten million episodes of some Boltzmann policy."""
    mdp = _hard_instances()[rng.integers(2)]
    behaviour = softened(mdp, float(10 ** rng.uniform(-2, 1)))
    return mdp, transition_data(mdp, behaviour, int(10 ** rng.uniform(3, 7)), rng)


def _bernstein_check(
    budget: Budget, scale: float = 1.0, visits: Callable[[Generator], tuple[StagedMDP, Array]] = _random_visits
) -> Probability:
    rng, runs = budget.rng("visits"), max(200, budget.runs // 10)
    return probability(sum(_misses(*visits(rng), scale) for _ in range(runs)), runs, 0.1)


# Optimism of the candidates ------------------------------------------------------------------------------------------


def _candidates(
    P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, *, baseline_first: bool
) -> Trial | None:
    """The baseline's value against the least upper bound of a candidate."""
    mdp, (b, _, initial, _), error = set_up(P, Q, r, mix, extra)
    H, optimistic, bounds = len(r), np.eye(r.shape[2])[b.greedy], []
    for h0 in range(H + 1):
        policy = np.concatenate([pi[:h0], optimistic[h0:]] if baseline_first else [optimistic[:h0], pi[h0:]])
        bounds.append(upper_bound(SETS, b, r, initial, policy, H))
    return Trial(staged_value(mdp, pi), min(bounds), error, trivial=float(H))


def _wrong_door() -> Case:
    """Two steps, all known: the optimum goes to state 1 and takes action 1 there; the baseline does neither.

    Its own value is 1/2; going to state 1 and then following it pays nothing.
    """
    P, r, baseline = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    P[:, :, 0, 0] = P[:, :, 1, 1] = 1
    r[1, 0], r[1, 1, 1] = 0.5, 1
    baseline[..., 0] = 1
    return {"P": P, "Q": P, "r": r, "pi": baseline, "mix": np.array(0.0), "extra": np.array(0.0)}


def _candidates_check(budget: Budget, baseline_first: bool = True) -> Inequality:
    return attack(BALLS, partial(_candidates, baseline_first=baseline_first), budget, hard=[_wrong_door()])


CLAIMS = (
    claim(
        id="stepmix/every-policy",
        source="ours, a provable form of the paper's policy evaluation",
        statement=(
            r"On the event, the extended evaluations in the L1 balls bound the value of every policy, whether or not "
            r"it was chosen by the data: $\underline v^\pi \le v^\pi \le \overline v^\pi$."
        ),
        kind=Inequality,
        premises=(TABULAR, EVENT),
        check=_every_policy_check,
        control=partial(_every_policy_check, scale=0.9),
        control_statement="the same with radii a tenth smaller than the distance of the truth.",
    ),
    claim(
        id="stepmix/coverage",
        source="Weissman et al. (2003), made time-uniform (ours)",
        statement=(
            r"With probability at least $1-\delta$, $\|\hat p_n - p\|_1 \le \mathrm{rad}(n)$ for all $n$ at once "
            r"(one row, $\delta = 0.1$)."
        ),
        kind=Probability,
        premises=("independent draws of a row",),
        check=_coverage_check,
        control=partial(_coverage_check, scale=0.35),
        control_statement="the same with radii multiplied by 0.35.",
    ),
    claim(
        id="stepmix/bernstein-bounds",
        source="Section on the optimistic policy (BPI-UCBVI's bonuses); the lower bound for every policy is ours",
        statement=(
            r"With probability at least $1-\delta$ the bonuses $3\sqrt{\mathrm{Var}\beta^*/n} + 14H^2\beta/n + \cdots$ "
            r"keep $\overline v \ge v^*$, and with $13H^2$ and $2/H$ the lower bound holds for every data-dependent "
            r"policy (one moment, $10$ to $10^7$ visits a pair)."
        ),
        kind=Probability,
        premises=(TABULAR,),
        check=_bernstein_check,
        control=partial(_bernstein_check, scale=1e-4),
        control_statement=r"the same with $\beta$ and $\beta^*$ divided by $10^4$.",
    ),
    claim(
        id="stepmix/bernstein-bounds-elsewhere",
        source="Section on the optimistic policy (BPI-UCBVI's bonuses); the lower bound for every policy is ours",
        statement=(
            r"The same on RiverSwim (S = 6, H = 6) and on DeepSea (4 rows, slips of probability 1/4) after $10^3$ to "
            r"$10^7$ episodes of a Boltzmann policy: pairs that are hard to reach included."
        ),
        kind=Probability,
        premises=(TABULAR,),
        check=partial(_bernstein_check, visits=_hard_visits),
        control=partial(_bernstein_check, scale=1e-4, visits=_hard_visits),
        control_statement=r"the same with $\beta$ and $\beta^*$ divided by $10^4$.",
    ),
    claim(
        id="stepmix/baseline-first",
        source="the optimism step of Theorem 1's proof; which policy goes first is our reading",
        statement=(
            r"Every candidate (baseline for $h_0$ steps, then the optimistic policy) has an upper bound of at least "
            r"$v^{\pi^b}$."
        ),
        kind=Inequality,
        premises=(TABULAR, EVENT),
        check=_candidates_check,
        control=partial(_candidates_check, baseline_first=False),
        control_statement="the same for candidates that go optimistically first and then follow the baseline.",
    ),
)
