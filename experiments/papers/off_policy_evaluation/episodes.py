"""Episodes: unbiased estimators, what no estimator can beat, and the curse of the horizon with its cure."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.off_policy_evaluation.common import (
    COVERED,
    EPISODES,
    PROPENSITIES,
    RATIONAL,
    STAGED,
    STAGES,
    Trajectory,
    claim,
    inner_stages,
    law,
    marks,
    stages,
    trajectories,
    trajectory_moments,
    weights,
)
from claimlab.mdps.exact import solve_linear
from claimlab.mdps.off_policy import fitted_q, marginalised_sampling, sample_episodes
from claimlab.mdps.staged import StagedMDP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Identity, Inequality, Rate, comparison, rate
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.off_policy import (
    Tables,
    cramer_rao,
    staged_values,
    tables,
    trajectory_variance,
    tree_bound,
)
from claimlab.theory.spaces import Box, Simplex, Space

SPACE = Space(EPISODES, STAGES)
MODELLED = Space(EPISODES, {**STAGES, "q": Box("HSA", 0, 1)})


def _few(budget: Budget) -> Budget:
    return budget.with_instances(min(budget.instances, 1_000) // 2)


def _distance(a: Any, b: Any) -> Trial:
    return Trial(float(abs(a - b)), 0.0)


def _value(t: Tables) -> Any:
    return (t.initial * staged_values(t)[0]).sum()


def _pdis(late: int, **case: Array) -> Trial:
    t = stages(**case)

    def term(path: Trajectory) -> Any:
        rho = [Fraction(1), *weights(t, path)]
        return sum(rho[h + 1 - late] * t.r[h, s, a] for h, (s, a) in enumerate(path))

    return _distance(trajectory_moments(t, term)[0], _value(t))


def _pdis_check(budget: Budget, late: int = 0) -> Identity:
    return equate(SPACE, partial(_pdis, late), _few(budget), proof="rational")


def dr_term(t: Tables, q: Any, path: Trajectory) -> Any:
    """Of one episode, by the recursion of Jiang & Li (2016), from the last step."""
    out: Any = Fraction(0)
    for h in reversed(range(len(path))):
        s, a = path[h]
        out = (t.pi[h, s] * q[h, s]).sum() + t.pi[h, s, a] / t.mu[h, s, a] * (t.r[h, s, a] + out - q[h, s, a])
    return out


def dr_variance(t: Tables, q: Any, *, model_term: bool = True) -> Any:
    """The variance of one episode's DR, by the recursion of Theorem 1 over states."""
    H, S = t.r.shape[:2]
    v, later = staged_values(t), np.zeros(S, dtype=object)  # of the rest of the episode, given the state
    for h in reversed(range(H)):
        ratio = t.pi[h] ** 2 / t.mu[h]
        exact = t.r[h] + (t.P[h] * v[h + 1]).sum(axis=2)
        ahead = (t.P[h] * v[h + 1] ** 2).sum(axis=2) - (t.P[h] * v[h + 1]).sum(axis=2) ** 2
        error = t.pi[h] * (exact - q[h])
        left = (error**2 / t.mu[h]).sum(axis=1) - error.sum(axis=1) ** 2 if model_term else 0
        later = (ratio * (ahead + (t.P[h] * later).sum(axis=2))).sum(axis=1) + left
    first = (t.initial * v[0] ** 2).sum() - (t.initial * v[0]).sum() ** 2
    return first + (t.initial * later).sum()


def _dr(model_term: bool, q: Array, **case: Array) -> Trial:
    t, model = stages(**case), marks(q)
    mean, variance = trajectory_moments(t, partial(dr_term, t, model))
    off = abs(mean - _value(t)) + abs(variance - dr_variance(t, model, model_term=model_term))
    return Trial(float(off), 0.0)


def _dr_check(budget: Budget, model_term: bool = True) -> Identity:
    return equate(MODELLED, partial(_dr, model_term), _few(budget), proof="rational")


def _true_q(t: Tables) -> Any:
    v = staged_values(t)
    return np.array([t.r[h] + (t.P[h] * v[h + 1]).sum(axis=2) for h in range(len(t.r))], dtype=object)


def _attained(bound: Any, **case: Array) -> Trial:
    t = stages(**case)
    return _distance(trajectory_moments(t, partial(dr_term, t, _true_q(t)))[1], bound(t))


def _attained_check(budget: Budget, bound: Any = tree_bound) -> Identity:
    return equate(SPACE, partial(_attained, bound), _few(budget), proof="rational")


# The Cramer-Rao bound from the Fisher information --------------------------------------------------------------------


def fisher_bound(t: Tables) -> Any:
    r"""The bound :math:`g^\top J^{-1} g` of one episode, from the Fisher information of its free probabilities.

    Each law of next states (and of the first) has all probabilities but its last as parameters.  The value is affine in
    them, so its gradient is a difference; the information is the expected number of uses times that of a multinomial.
    """
    uses: Any = np.zeros(t.r.shape, dtype=object)
    for p, path in trajectories(t):
        for h, (s, a) in enumerate(path):
            uses[h, s, a] += p
    total = _block(t.initial, Fraction(1), lambda new: _value(t._replace(initial=new)))
    for at in np.ndindex(t.r.shape):

        def value(new: Any, at: tuple[int, ...] = at) -> Any:
            P = t.P.copy()
            P[at] = new
            return _value(t._replace(P=P))

        if uses[at] > 0:
            total = total + _block(t.P[at], uses[at], value)
    return total


def _block(p: Any, uses: Any, value: Any) -> Any:
    free = len(p) - 1
    if free == 0:
        return Fraction(0)
    gradient = np.array([[value(_moved(p, i)) - value(p)] for i in range(free)], dtype=object)
    information = np.array(
        [[uses * ((i == j) / p[i] + 1 / p[-1]) for j in range(free)] for i in range(free)], dtype=object
    )
    return (gradient * solve_linear(information, gradient)).sum()


def _moved(p: Any, i: int) -> Any:
    out = p.copy()
    out[i], out[-1] = out[i] + 1, out[-1] - 1
    return out


def _first_power(t: Tables) -> Any:
    """With the ratio of occupancies instead of its square: the bound for logs of the target itself."""
    return cramer_rao(t._replace(mu=t.pi))


def _information(bound: Any, **case: Array) -> Trial:
    t = inner_stages(**case)
    return _distance(fisher_bound(t), bound(t))


def _information_check(budget: Budget, bound: Any = cramer_rao) -> Identity:
    return equate(SPACE, partial(_information, bound), _few(budget), proof="rational")


def _below(exchanged: bool, **case: Array) -> Trial:
    t = stages(**case)
    low, high = float(cramer_rao(t)), float(tree_bound(t))
    return Trial(high, low) if exchanged else Trial(low, high)


def _below_check(budget: Budget, exchanged: bool = False) -> Inequality:
    return attack(SPACE, partial(_below, exchanged), budget.with_instances(min(budget.instances, 1_000)))


# The curse of the horizon --------------------------------------------------------------------------------------------

CURSE = Space({"H": (1, 6), "A": (2, 3)}, {"pi": Simplex("A"), "mu": Simplex("A"), "steps": Box("H", 0, 1)})


def _curse(less: int, pi: Array, mu: Array, steps: Array) -> Trial:
    H, A = len(steps), len(pi)
    one, both = (
        np.full((H, 1, A, 1), Fraction(1)),
        [np.broadcast_to(law(x, floor), (H, 1, A)) for x, floor in ((pi, 0), (mu, 1))],
    )
    r = np.full((H, 1, A), Fraction(0))
    r[-1] = Fraction(1)
    growth = (both[0][0, 0] ** 2 / both[1][0, 0]).sum()  # 1 + chi^2
    return _distance(trajectory_variance(Tables(one, r, one[0, 0, 0], *both)), growth ** (H - less) - 1)


def _curse_check(budget: Budget, less: int = 0) -> Identity:
    return equate(CURSE, partial(_curse, less), budget.with_instances(min(budget.instances, 1_000)), proof="rational")


HORIZONS = (4, 8, 16, 32)
LOGGED, TAKEN = 0.5, 0.8  # probabilities of the first action: 1 + chi^2 = 1.36


def walk(H: int) -> tuple[StagedMDP, Array, Array]:
    """Two states: one pays, and the first action leads there with 0.7, the second with 0.3."""
    P = np.tile([[[0.3, 0.7], [0.7, 0.3]]] * 2, (H, 1, 1, 1))
    r = np.tile([[0.0, 0.0], [1.0, 1.0]], (H, 1, 1))
    mu = np.full((H, 2, 2), 0.5)
    pi = np.tile([TAKEN, 1 - TAKEN], (H, 2, 1))
    return StagedMDP(P, r), pi, mu


@lru_cache(maxsize=16)
def errors(H: int, logs: int, episodes: int, seed: int) -> dict[str, Array]:
    """Squared errors of several estimators, a number for each of `logs` logs; several claims read them."""
    mdp, pi, mu = walk(H)
    value, rng = float(_value(tables(mdp, pi, mu))), np.random.default_rng(seed)
    found: dict[str, list[float]] = {"is": [], "pdis": [], "mis": [], "fitted q": []}
    for _ in range(logs):
        log = sample_episodes(mdp, mu, pi, episodes, rng)
        rho = np.cumprod(log.ratios, axis=1)
        estimates = {
            "is": (rho[:, -1] * log.rewards.sum(axis=1)).mean(),
            "pdis": (rho * log.rewards).sum(axis=1).mean(),
            "mis": marginalised_sampling(log).value,
            "fitted q": fitted_q(log).value,
        }
        for name, estimate in estimates.items():
            found[name].append((estimate - value) ** 2)
    return {name: np.array(kept) for name, kept in found.items()}


LOGS = {"smoke": 400, "standard": 1_200}
N_EPISODES = 128


def _horizon_check(budget: Budget, name: str = "mis") -> Rate:
    """A run is the mean over a fortieth of the logs."""
    logs = LOGS.get(budget.name, 4_000)
    seen = [errors(H, logs, N_EPISODES, budget.seed)[name].reshape(40, -1).mean(axis=1) for H in HORIZONS]
    x = np.array(HORIZONS, dtype=np.float64)
    return rate(x, np.stack(seen, axis=1), exponent=3.0, side="at most", rng=budget.rng("bootstrap"))


def _efficient_check(budget: Budget, name: str = "fitted q") -> Comparison:
    logs, H = LOGS.get(budget.name, 4_000), 16
    bound = float(cramer_rao(tables(*walk(H)))) / N_EPISODES
    seen = errors(H, logs, N_EPISODES, budget.seed)[name]
    return comparison(np.full(logs, 1.5 * bound), seen, effect=0.0, rng=budget.rng("bootstrap"))


CLAIMS = (
    claim(
        id="off-policy-evaluation/pdis-unbiased",
        source="Precup, Sutton & Singh (2000), the per-decision estimator",
        statement=r"Per-decision importance sampling is unbiased: $E\sum_h \rho_{0:h} r_h = V^\pi$.",
        kind=Identity,
        premises=(STAGED, COVERED, PROPENSITIES, RATIONAL),
        check=_pdis_check,
        control=partial(_pdis_check, late=1),
        control_statement=r"so is $\sum_h \rho_{0:h-1} r_h$.",
    ),
    claim(
        id="off-policy-evaluation/dr-episodes",
        source="Jiang & Li (2016), Theorem 1",
        statement=(
            r"DR is unbiased whatever $Q$, and its variance is $\mathrm{Var}\,V(s_0) + E\,\sigma_0(s_0)$ with "
            r"$\sigma_h(s_h) = E[\rho_h^2 (\mathrm{Var}[V(s_{h+1})|s_h,a_h] + \sigma_{h+1}(s_{h+1}))|s_h] + "
            r"\mathrm{Var}[\rho_h (Q^\pi - Q)(s_h,a_h)|s_h]$."
        ),
        kind=Identity,
        premises=(STAGED, COVERED, PROPENSITIES, RATIONAL),
        check=_dr_check,
        control=partial(_dr_check, model_term=False),
        control_statement="the same without the last term.",
    ),
    claim(
        id="off-policy-evaluation/tree-bound-attained",
        source="Jiang & Li (2016), Theorem 2",
        statement=(
            r"With the true $Q$ the variance of DR is the lower bound of tree MDPs, $\mathrm{Var}\,V(s_0) + \sum_h "
            r"E[\rho_{0:h}^2\,\mathrm{Var}[V(s_{h+1})|s_h,a_h]]$."
        ),
        kind=Identity,
        premises=(STAGED, COVERED, PROPENSITIES, RATIONAL),
        check=_attained_check,
        control=partial(_attained_check, bound=cramer_rao),
        control_statement="it is the lower bound of MDPs whose states are known.",
    ),
    claim(
        id="off-policy-evaluation/cramer-rao",
        source="Jiang & Li (2016), Theorem 3",
        statement=(
            r"The Cramer-Rao bound of $n$ episodes is $\frac1n\left(\mathrm{Var}\,V(s_0) + \sum_h\sum_{s,a} "
            r"\frac{d^\pi_h(s,a)^2}{d^\mu_h(s,a)} \mathrm{Var}[V(s_{h+1})|s,a]\right)$; compared with $g^\top J^{-1} "
            "g$ from the Fisher information."
        ),
        kind=Identity,
        premises=(STAGED, COVERED, "every transition has positive probability", RATIONAL),
        check=_information_check,
        control=partial(_information_check, bound=_first_power),
        control_statement=r"it is the same with $d^\pi$ for $(d^\pi)^2/d^\mu$.",
    ),
    claim(
        id="off-policy-evaluation/states-help",
        source="Jiang & Li (2016), Theorems 2 and 3",
        statement="The bound of MDPs whose states are known is at most that of trees.",
        kind=Inequality,
        premises=(STAGED, COVERED, RATIONAL),
        check=_below_check,
        control=partial(_below_check, exchanged=True),
        control_statement="the bound of trees is at most that of known states.",
    ),
    claim(
        id="off-policy-evaluation/curse-of-horizon",
        source="Liu, Li, Tang & Zhou (2018), Section 1; the constants ours",
        statement=(
            r"One state, a reward of 1 in the last step: the variance of trajectory-wise importance sampling is "
            r"$(1 + \chi^2(\pi\|\mu))^H - 1$, exactly, although the value is known to be 1."
        ),
        kind=Identity,
        premises=(COVERED, PROPENSITIES, RATIONAL, "the same policies in every step, up to 6 steps"),
        check=_curse_check,
        control=partial(_curse_check, less=1),
        control_statement=r"it is $(1 + \chi^2)^{H-1} - 1$.",
    ),
    claim(
        id="off-policy-evaluation/mis-polynomial",
        source="Xie, Ma & Wang (2019), abstract",
        statement=(
            "The mean squared error of the marginalised estimator grows polynomially in the horizon, here at most like "
            "its cube."
        ),
        kind=Rate,
        premises=(STAGED, r"two states, $\chi^2 = 0.36$, 128 episodes, $H = 4, \dots, 32$"),
        check=_horizon_check,
        control=partial(_horizon_check, name="is"),
        control_statement="so does that of trajectory-wise importance sampling.",
    ),
    claim(
        id="off-policy-evaluation/fitted-q-efficient",
        source="Yin & Wang (2020), abstract",
        statement=(
            "Fitted Q by counts attains the Cramer-Rao bound as the log grows: with 128 episodes of 16 steps its mean "
            "squared error is below 1.5 times the bound."
        ),
        kind=Comparison,
        premises=(STAGED, COVERED, r"two states, $\chi^2 = 0.36$"),
        check=_efficient_check,
        control=partial(_efficient_check, name="pdis"),
        control_statement="so is that of per-decision importance sampling.",
    ),
)
