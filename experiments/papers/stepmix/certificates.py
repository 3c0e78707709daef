"""Why a policy can be certified from data: confidence sets, bounds for every policy at once, mixtures at one step.

Statements about one moment are attacked with transitions, frequencies and radii that an adversary chooses: balls that
just contain the truth are the hardest, and they are what the search draws.
"""

from __future__ import annotations

from functools import partial

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
from claimlab.mdps.beliefs import (
    lower_bound,
    mean,
    new_beliefs,
    plan_optimism,
    upper_bound,
)
from claimlab.mdps.confidence import BernsteinSets, L1Sets, l1_radius
from claimlab.mdps.conservative import StepMix, plan_pessimism
from claimlab.mdps.optimistic import Knowledge
from claimlab.mdps.staged import StagedMDP, draw, evaluate, staged_optimum, staged_value
from claimlab.native import kernel
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome, Probability, probability
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

SETS = L1Sets()

# A policy mixed at one step ------------------------------------------------------------------------------------------

MIXED = Space(
    {"H": (2, 4), "S": (1, 3), "A": (2, 3)},
    {"P": Simplex("HSAS"), "r": Box("HSA", 0, 1), "pi": Simplex("HSA"), "other": Simplex("HSA"), "rho": Box("", 0, 1)}
    | {"at": Box("", 0, 1)},
)


def _affine(P: Array, r: Array, pi: Array, other: Array, rho: Array, at: Array, *, steps: int) -> Trial:
    """How far the value is from its chord if two policies differ at `steps` steps and are mixed there."""
    mdp, first = StagedMDP(P, r), int(at * (len(r) - steps))
    far = pi.copy()
    far[first : first + steps] = other[first : first + steps]
    mixed = (1 - rho) * pi + rho * far
    chord = (1 - rho) * staged_value(mdp, pi) + rho * staged_value(mdp, far)
    return Trial(float(abs(staged_value(mdp, mixed) - chord)), 4 * mdp.rounding)


def _affine_check(budget: Budget, steps: int = 1) -> Identity:
    return equate(MIXED, partial(_affine, steps=steps), budget)


# Bounds for every policy ---------------------------------------------------------------------------------------------

BALLS = Space(SIZES, AROUND)


def _set_up(
    P: Array, Q: Array, r: Array, mix: Array, extra: Array, scale: float = 1.0
) -> tuple[StagedMDP, Knowledge, float]:
    """The true MDP, a learner's state whose balls contain it (for scale 1), and the rounding of its bounds."""
    mdp = StagedMDP(P, r)
    frequencies, radii = around(P, Q, mix, extra)
    return mdp, knowledge(frequencies, scale * radii, r), 8 * mdp.rounding


def _every_policy(P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, *, scale: float) -> Trial:
    mdp, (b, _, initial, _), error = _set_up(P, Q, r, mix, extra, scale)
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


def _bernstein_fails(rng: Generator, scale: float) -> bool:
    """Whether BPI-UCBVI's bounds miss the optimum or the value of a policy chosen from the data.

    Each pair has been visited between 10 and 10 million times: below some thousand visits the bonuses exceed H.
    """
    H, S, A = 3, 3, 2
    mdp = StagedMDP(rng.dirichlet(np.full(S, 0.3), size=(H, S, A)), rng.random((H, S, A)))
    n = np.floor(10 ** rng.uniform(1, 7, size=(H, S, A))).astype(np.int64)
    hits = rng.multinomial(n, mdp.P).astype(float)
    sets, best = BernsteinSets(0.1, scale), staged_optimum(mdp)
    b = new_beliefs(sets, H, S, A, hits)
    plan_optimism(sets, b, mdp.r)
    believed = staged_optimum(StagedMDP(hits / n[..., None], mdp.r))
    luck = np.einsum("hsat,ht->hsa", hits / n[..., None] - mdp.P, best.v[1:])
    policies = [np.eye(A)[b.greedy], believed.policy, np.eye(A)[luck.argmax(axis=2)]]
    failed = bool((b.upper < best.v - mdp.rounding).any())
    for pi in policies:
        v = np.zeros((H + 1, S))
        evaluate(mdp, pi, v)
        lower_bound(sets, b, mdp.r, mdp.initial, pi, H)
        failed = failed or bool((b.trial > v + mdp.rounding).any())
    return failed


def _bernstein_check(budget: Budget, scale: float = 1.0) -> Probability:
    rng, runs = budget.rng("visits"), max(200, budget.runs // 10)
    return probability(sum(_bernstein_fails(rng, scale) for _ in range(runs)), runs, 0.1)


# Optimism of the candidates ------------------------------------------------------------------------------------------


def _candidates(
    P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, *, baseline_first: bool
) -> Trial | None:
    """The baseline's value against the least upper bound of a candidate."""
    mdp, (b, _, initial, _), error = _set_up(P, Q, r, mix, extra)
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


# The policy that is played -------------------------------------------------------------------------------------------

LEVELS = Space({"H": (2, 3), "S": (2, 3), "A": (2, 3)}, AROUND | {"level": Box("", 0, 1)})


def _two_traps() -> Case:
    """At each of two steps action 1 is unknown and is a trap; action 0 stays, and staying is worth 1/2 at the end.

    The baseline stays.  Halfway between it and the optimist, one falls into a trap with probability 3/4, not 1/2.
    """
    P, Q, r, baseline = np.zeros((3, 3, 2, 3)), np.zeros((3, 3, 2, 3)), np.zeros((3, 3, 2)), np.zeros((3, 3, 2))
    for s in range(3):
        P[:, s, :, s] = Q[:, s, :, s] = 1
    P[:2, 0, 1] = 0, 1, 0
    Q[:2, 0, 1] = 0, 0, 1
    r[0, 0, 1], r[2, 0], r[2, 2] = 0.1, 0.5, 1  # 0.1 breaks a tie between the traps
    baseline[..., 0] = 1
    numbers = {"mix": np.array(1.0), "extra": np.array(0.0), "level": np.array(0.5)}
    return {"P": P, "Q": Q, "r": r, "pi": baseline} | numbers


def _floor(
    P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, level: Array,
    *, share: float, where: str,
) -> Trial | None:  # fmt: skip
    """The threshold against the value of StepMix's mixture, `share` of whose weight on the baseline is kept.

    The baseline is half `pi`, half the policy with the best certificate: so that it often has a better one than the
    optimistic policy.
    `where` is "step" for StepMix, "all steps" for the same weight between the two whole policies at each step, and
    "coin" for the average over one coin an episode.
    """
    mdp, state, error = _set_up(P, Q, r, mix, extra)
    b, _, initial, _ = state
    lower, cautious = np.zeros(b.upper.shape), np.zeros(r.shape)
    plan_pessimism(SETS, b, r, lower, cautious)
    pi = (pi + cautious) / 2
    low, high = mean(initial, b.lower[0]), lower_bound(SETS, b, r, initial, pi, len(r))
    if high <= low + error:
        return None
    threshold = float((1 - level) * low + level * high)
    optimistic = np.eye(r.shape[2])[b.greedy]
    if where != "step":
        rho = share * level
        values = [staged_value(mdp, x) for x in (optimistic, pi)]
        coin = (1 - rho) * values[0] + rho * values[1]
        value = float(coin) if where == "coin" else staged_value(mdp, (1 - rho) * optimistic + rho * pi)
        return Trial(threshold, value, error)
    policy = np.zeros(r.shape)
    kind = StepMix(pi, max(threshold, 0.0)).plan(state, 0, np.random.default_rng(0), policy)
    if not 1 <= kind <= len(r):
        return None
    policy[kind - 1] = share * policy[kind - 1] + (1 - share) * optimistic[kind - 1]
    return Trial(threshold, staged_value(mdp, policy), error)


def _floor_check(budget: Budget, share: float = 1.0, where: str = "step") -> Inequality:
    return attack(LEVELS, partial(_floor, share=share, where=where), budget, hard=[_two_traps()])


CLAIMS = (
    claim(
        id="stepmix/one-step-affine",
        source="Section on StepMix, the property that the algorithm rests on",
        statement=(
            r"If two policies differ at one step only, the value of their mixture there is affine in the weight: "
            r"$v^{(1-\rho)\pi + \rho\pi'} = (1-\rho)v^\pi + \rho v^{\pi'}$."
        ),
        kind=Identity,
        premises=(TABULAR,),
        check=_affine_check,
        control=partial(_affine_check, steps=2),
        control_statement="the same for policies that differ at two steps.",
    ),
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
    claim(
        id="stepmix/mixture-safe",
        source="Theorem 1, its safety part at one moment",
        statement=(
            r"On the event, the step mixture with $\rho = \frac{\gamma-\ell(h_0-1)}{\ell(h_0)-\ell(h_0-1)}$ is worth "
            r"at least $\gamma$."
        ),
        kind=Inequality,
        premises=(TABULAR, EVENT, r"$\ell(\bar\pi) \le \gamma \le \ell(\pi^b)$"),
        check=_floor_check,
        control=partial(_floor_check, share=0.5),
        control_statement=r"the same with $\rho/2$ in place of $\rho$.",
    ),
    claim(
        id="stepmix/mixing-all-steps",
        source="ours, why StepMix mixes at one step",
        statement=(
            r"On the event, the policy that at every step takes the baseline's action with probability "
            r"$\rho = \frac{\gamma-\ell(\bar\pi)}{\ell(\pi^b)-\ell(\bar\pi)}$ is worth at least $\gamma$."
        ),
        kind=Inequality,
        premises=(TABULAR, EVENT, r"$\ell(\bar\pi) \le \gamma \le \ell(\pi^b)$"),
        check=partial(_floor_check, where="all steps"),
        control=partial(_floor_check, where="coin"),
        control_statement="one coin for the whole episode (EpsMix): the value averaged over the coin is.",
        expected=Outcome.REFUTED,
    ),
)
