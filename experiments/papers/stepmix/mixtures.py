"""The policy that StepMix plays: a mixture at one step, what it is worth, and how it moves with the threshold."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.stepmix.certificates import SETS, set_up
from claimlab.experiments.papers.stepmix.common import AROUND, EVENT, TABULAR, claim, knowledge
from claimlab.mdps.beliefs import lower_bound
from claimlab.mdps.conservative import RHO, StepMix, plan_pessimism
from claimlab.mdps.optimistic import Knowledge
from claimlab.mdps.staged import StagedMDP, staged_value
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

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


class _Moment(NamedTuple):
    """A moment at which the baseline has a better certificate than the optimistic policy."""

    mdp: StagedMDP
    state: Knowledge
    baseline: Array
    certificates: Array  # [H + 1], of the candidates
    error: float

    def threshold(self, level: Array) -> float:
        """Between the certificates of the optimistic policy (0) and of the baseline (1)."""
        return float((1 - level) * self.certificates[0] + level * self.certificates[-1])

    def mixture(self, threshold: float) -> tuple[int, float, Array] | None:
        """The step and the weight at which StepMix mixes, and its policy; None where it does not mix."""
        policy = np.zeros(self.baseline.shape)
        player = StepMix(self.baseline, max(threshold, 0.0))
        steps = player.plan(self.state, 0, np.random.default_rng(0), policy)
        return (steps, float(self.state.notes[RHO]), policy) if 1 <= steps <= len(policy) else None


def _moment(P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array) -> _Moment | None:
    """The baseline is half `pi`, half the policy with the best certificate: so it often has a better one than the
    optimistic policy."""
    mdp, state, error = set_up(P, Q, r, mix, extra)
    lower, cautious = np.zeros(state.beliefs.upper.shape), np.zeros(r.shape)
    plan_pessimism(SETS, state.beliefs, r, lower, cautious)
    baseline = (pi + cautious) / 2
    found = [lower_bound(SETS, state.beliefs, r, state.initial, baseline, h0) for h0 in range(len(r) + 1)]
    return None if found[-1] <= found[0] + error else _Moment(mdp, state, baseline, np.array(found), error)


def _floor(
    P: Array, Q: Array, r: Array, pi: Array, mix: Array, extra: Array, level: Array,
    *, share: float, where: str,
) -> Trial | None:  # fmt: skip
    """The threshold against the value of StepMix's mixture, `share` of whose weight on the baseline is kept.

    `where` is "step" for StepMix, "all steps" for the same weight between the two whole policies at each step, and
    "coin" for the average over one coin an episode.
    """
    moment = _moment(P, Q, r, pi, mix, extra)
    if moment is None:
        return None
    mdp, threshold, optimistic = moment.mdp, moment.threshold(level), np.eye(r.shape[2])[moment.state.beliefs.greedy]
    if where != "step":
        rho = share * level
        values = [staged_value(mdp, x) for x in (optimistic, moment.baseline)]
        coin = (1 - rho) * values[0] + rho * values[1]
        value = float(coin) if where == "coin" else staged_value(mdp, (1 - rho) * optimistic + rho * moment.baseline)
        return Trial(threshold, value, moment.error)
    mixture = moment.mixture(threshold)
    if mixture is None:
        return None
    steps, _, policy = mixture
    policy[steps - 1] = share * policy[steps - 1] + (1 - share) * optimistic[steps - 1]
    return Trial(threshold, staged_value(mdp, policy), moment.error)


def _floor_check(budget: Budget, share: float = 1.0, where: str = "step") -> Inequality:
    return attack(LEVELS, partial(_floor, share=share, where=where), budget, hard=[_two_traps()])


# The mixture and the threshold ---------------------------------------------------------------------------------------

LEDGE = "searched where each of two to five steps offers a gain for an unknown risk of ending the episode"
PATHS = Space(
    {"H": (2, 5)}, {name: Box("H", 0, 1) for name in ("risk", "gain")} | {"low": Box("", 0, 1), "high": Box("", 0, 1)}
)


def _ledge(risk: Array, gain: Array) -> _Moment | None:
    """At each of H steps one may stay alive, as the baseline does, or take `gain` / 10 and, for all one knows, die with
    probability `risk`; to be alive after them pays 1."""
    H = len(risk)
    P, r, radii = np.zeros((H + 1, 2, 2, 2)), np.zeros((H + 1, 2, 2)), np.zeros((H + 1, 2, 2))
    P[:, 0, :, 0] = P[:, 1, :, 1] = 1
    r[:H, 0, 1], r[H, 0], radii[:H, 0, 1] = gain / 10, 1, 2 * risk
    mdp, state, baseline = StagedMDP(P, r), knowledge(P, radii, r), np.zeros((H + 1, 2, 2))
    baseline[..., 0] = 1
    found = [lower_bound(SETS, state.beliefs, r, state.initial, baseline, h0) for h0 in range(H + 2)]
    error = 8 * mdp.rounding
    return None if found[-1] <= found[0] + error else _Moment(mdp, state, baseline, np.array(found), error)


def _continuous(risk: Array, gain: Array, low: Array, high: Array, *, rising: bool) -> Trial | None:
    """How far the policies for two thresholds are apart, against the distance of the thresholds over the least
    difference of neighbouring certificates up to the later step; `rising` demands that they increase up to there."""
    moment = _ledge(risk, gain)
    if moment is None:
        return None
    thresholds = [moment.threshold(x) for x in (low, high)]
    one, two = (moment.mixture(x) for x in thresholds)
    if one is None or two is None:
        return None
    increments = np.diff(moment.certificates)[: max(one[0], two[0])]
    least = float(increments.min() if rising else abs(increments).min())
    if least <= 1e3 * moment.error:
        return None
    apart = float(abs(one[2] - two[2]).max())
    return Trial(apart, abs(thresholds[0] - thresholds[1]) / least, 8 * moment.error / least, trivial=1.0)


def _passed_over() -> Case:
    """Certificates 0.425, 0.75, 0.65, 1: at 0.75 the mixture goes from step 1 to step 3, and step 2 changes at once."""
    risk, gain = np.array([0.5, 0.0, 0.4]), np.array([0.5, 1.0, 0.5])
    return {"risk": risk, "gain": gain, "low": np.array(0.315 / 0.575), "high": np.array(0.335 / 0.575)}


def _continuous_check(budget: Budget, rising: bool = True) -> Inequality:
    return attack(PATHS, partial(_continuous, rising=rising), budget, hard=[_passed_over()])


def _monotone(risk: Array, gain: Array, low: Array, high: Array, *, swap: bool) -> Trial | None:
    """How many steps follow the baseline, h0 - 1 + rho, at the lower of two thresholds and at the higher one."""
    moment = _ledge(risk, gain)
    if moment is None:
        return None
    one, two = (moment.mixture(moment.threshold(x)) for x in sorted((low, high)))
    if one is None or two is None:
        return None
    fewer, more = (steps - rho if swap else steps - 1 + rho for steps, rho, _ in (one, two))
    return Trial(fewer, more, 1e-12)


def _monotone_check(budget: Budget, swap: bool = False) -> Inequality:
    return attack(PATHS, partial(_monotone, swap=swap), budget)


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
    claim(
        id="stepmix/mixture-continuous",
        source="abstract: the policy interpolates smoothly between the baseline and the optimistic one",
        statement=(
            r"Where the candidates' certificates increase up to the one that is mixed, the policy is a Lipschitz "
            r"function of the threshold: $\max_{h,s,a}|\pi_\gamma - \pi_{\gamma'}| \le |\gamma - \gamma'| / "
            r"\min_{h_0}(\ell(h_0) - \ell(h_0-1))$."
        ),
        kind=Inequality,
        premises=(
            TABULAR,
            r"$\ell(\bar\pi) < \gamma, \gamma' \le \ell(\pi^b)$",
            r"$\ell(0) < \dots < \ell(h_0)$",
            LEDGE,
        ),
        check=_continuous_check,
        control=partial(_continuous_check, rising=False),
        control_statement=(
            r"the same without the order of the certificates, $|\ell(h_0) - \ell(h_0-1)|$ in the bound: past a local "
            r"maximum of $\ell$ the mixture jumps over a step."
        ),
    ),
    claim(
        id="stepmix/mixture-monotone",
        source="abstract: the policy interpolates smoothly between the baseline and the optimistic one",
        statement=(
            r"The higher the threshold, the more of the episode follows the baseline: $h_0 - 1 + \rho$ never falls as "
            r"$\gamma$ rises."
        ),
        kind=Inequality,
        premises=(TABULAR, r"$\ell(\bar\pi) < \gamma \le \ell(\pi^b)$", LEDGE),
        check=_monotone_check,
        control=partial(_monotone_check, swap=True),
        control_statement=r"the same for the weight $1-\rho$ in place of $\rho$.",
    ),
)
