"""Adversaries: exponential weights, implicit exploration, and one algorithm for both worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from claimlab.bandits import (
    UCB1,
    Algorithm,
    Bernoulli,
    Environment,
    Exp3,
    Exp3IX,
    Exp3Mixing,
    StochasticallyConstrained,
    Table,
    TsallisINF,
    anytime_rate,
    exp3_rate,
    expected_regret,
)
from claimlab.checks import Array
from claimlab.experiments.papers.classic_bandits.common import (
    BERNOULLI,
    LARGE,
    OBLIVIOUS,
    TABLES,
    Promise,
    above,
    claim,
    games,
    hard_tables,
    logarithmic,
    pieces,
    regrets,
)
from claimlab.theory import regret
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, Inequality, Probability, probability
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.spaces import Box, Case, Space

# Exact: all sequences of draws ---------------------------------------------------------------------------------------

ROUNDING = 1e-9  # of an expectation over some thousand sequences; mpmath agrees to 1e-12 in the tests


def _one_arm_pays(shape: tuple[int, int]) -> Case:
    return {"x": np.tile(np.eye(shape[1])[0], (shape[0], 1))}


def _exp3(x: Array, *, anytime: bool, bound: Callable[[int, int], float]) -> Trial:
    T, K = x.shape
    alg = Exp3(anytime_rate(K), anytime=True) if anytime else Exp3(exp3_rate(K, T))
    return Trial(expected_regret(alg, Table(x)), bound(K, T), T * ROUNDING, trivial=T)


def _hedge(K: int, T: int) -> float:
    return float(np.sqrt(T * np.log(K) / 2))


def _exp3_check(budget: Budget, anytime: bool = False, bound: Callable[[int, int], float] = regret.exp3) -> Inequality:
    space = Space({"T": (3, 8), "K": (2, 3)}, {"x": Box("TK", 0.0, 1.0)})
    return attack(space, partial(_exp3, anytime=anytime, bound=bound), budget, hard=_worst_small(space))


def _worst_small(space: Space) -> Iterator[Case]:
    """A single arm pays in all rounds, or in all but the first."""
    for T in range(space.sizes["T"][0], space.sizes["T"][1] + 1):
        for K in range(space.sizes["K"][0], space.sizes["K"][1] + 1):
            case = _one_arm_pays((T, K))
            yield case
            yield {"x": np.vstack([1 - case["x"][:1], case["x"][1:]])}


def _mixing(x: Array, gamma: Array, *, share: float) -> Trial:
    gain = float(x.sum(axis=0).max())
    bound = regret.exp3_mixing(x.shape[1], gain, float(gamma))
    return Trial(expected_regret(Exp3Mixing(float(gamma)), Table(x)), share * bound, len(x) * ROUNDING, trivial=gain)


def _mixing_check(budget: Budget, share: float = 1.0) -> Inequality:
    space = Space({"T": (11, 12), "K": (2, 2)}, {"x": Box("TK", 0.0, 1.0), "gamma": Box("", 0.05, 1.0)})
    hard = [case | {"gamma": np.array(gamma)} for case in _worst_small(space) for gamma in (0.1, 0.27, 0.4)]
    return attack(space, partial(_mixing, share=share), budget, hard=hard)


def _tsallis(x: Array, *, share: float) -> Trial:
    T, K = x.shape
    bound = share * regret.tsallis_inf_sharp(K, T)
    return Trial(expected_regret(TsallisINF(), Table(x)), bound, T * ROUNDING, trivial=T)


def _tsallis_check(budget: Budget, share: float = 1.0) -> Inequality:
    space = Space({"T": (14, 14), "K": (2, 2)}, {"x": Box("TK", 0.0, 1.0)})
    fewer = budget.with_instances(min(budget.instances // 2, 400))
    return attack(space, partial(_tsallis, share=share), fewer, hard=_worst_small(space))


# Searched: adversaries in pieces -------------------------------------------------------------------------------------

HORIZON = 2_000
HARD_TABLES = hard_tables([[1, 0]], [[1, 0], [0, 1]], [[0.6, 0.4]], [[0, 0.5], [1, 0.5]], [[1, 0, 0, 0]])

TSALLIS_BOUND = Promise(
    TABLES,
    partial(pieces, horizon=HORIZON),
    lambda env: TsallisINF(),
    lambda env: regret.tsallis_inf(env.n_arms, HORIZON),
    HORIZON,
    HARD_TABLES,
)


# With high probability -----------------------------------------------------------------------------------------------

DELTA = 0.01


def trap(horizon: int = 8_000) -> Table:
    """Arm 1 is worse in the first half, so that it is hardly drawn, and the best in the second.

    After Lattimore & Szepesvari (2020, Section 11.5): a single draw of arm 1 while its probability is tiny makes its
    estimated loss so large that it is not drawn again.
    """
    return pieces(np.array([[1.0, 0.65], [0.0, 1.0]]), horizon=horizon)


def _high_probability_check(budget: Budget, algorithm: Callable[[float], Algorithm] = Exp3IX) -> Probability:
    env, horizon = trap(), 8_000
    found = regrets(algorithm(exp3_rate(2, horizon)), env, budget, horizon=horizon, runs=min(budget.runs, 6_000))
    limit = regret.exp3_ix(2, horizon, DELTA)
    witness = {"bound": limit, "largest regret": found.max(), "median": np.median(found)}
    return probability(int((found > limit).sum()), len(found), DELTA, witness)


# Best of both worlds -------------------------------------------------------------------------------------------------

CONSTRAINED = StochasticallyConstrained(np.array([0.0, *[0.125] * 7]))
FIXED = Bernoulli(0.5 - CONSTRAINED.gaps)
CLEAR = np.array([0.0, 0.5])
INDEX, TSALLIS = UCB1(), TsallisINF()


def _stochastic_check(budget: Budget, algorithm: Algorithm = TSALLIS) -> Comparison:
    """The bound, in the harder of two environments of the same gaps."""
    horizon, worlds = 100_000, (Bernoulli(0.75 - CLEAR), StochasticallyConstrained(CLEAR))
    pilots = [regrets(algorithm, env, budget, "pilot", i, horizon=horizon, runs=20) for i, env in enumerate(worlds)]
    env = worlds[int(np.argmax([pilot.mean() for pilot in pilots]))]
    found = regrets(algorithm, env, budget, horizon=horizon, runs=games(budget))
    limit = regret.tsallis_inf_stochastic(CLEAR, horizon)
    witness = {"environment": type(env).__name__, "gaps": CLEAR, "mean regret": found.mean(), "bound": limit}
    return above(np.full(len(found), limit), found, budget, witness=witness)


def _constrained_check(budget: Budget, env: Environment = CONSTRAINED) -> Comparison:
    horizon, runs = 100_000, games(budget)
    ucb1, tsallis = (regrets(alg, env, budget, horizon=horizon, runs=runs) for alg in (INDEX, TSALLIS))
    witness = {"mean regret of UCB1": ucb1.mean(), "of Tsallis-INF": tsallis.mean()}
    return above(ucb1, tsallis, budget, effect=1_000, witness=witness)


def _growth_check(budget: Budget, algorithm: Callable[[int], Algorithm]) -> Comparison:
    return logarithmic(budget, algorithm=algorithm, env=Bernoulli(0.75 - CLEAR), runs=3 * games(budget))


def round_robin(horizon: int, n_arms: int = 3) -> Table:
    """The adversary who pays 0 on arm t mod K in round t and 1 on all others.

    UCB1, which has seen nothing but zeros, pulls the arm it pulled least often, the first of them: always arm t mod K.
    """
    return Table(1.0 - np.eye(n_arms)[np.arange(horizon) % n_arms])


def _fooled_check(budget: Budget, algorithm: Algorithm = INDEX) -> Comparison:
    """UCB1 draws nothing, and neither does the table: its regret has no noise."""
    horizon = 10_000
    found = regrets(algorithm, round_robin(horizon), budget, horizon=horizon, runs=games(budget))
    witness = {"rewards of the first rounds": round_robin(6).rewards, "horizon": horizon, "mean regret": found.mean()}
    certain = algorithm is INDEX
    return above(found, np.full(len(found), horizon / 2), budget, witness=witness, certain=certain)


CLAIMS = (
    claim(
        id="classic-bandits/exp3-bound",
        source="Bubeck & Cesa-Bianchi (2012), Theorem 3.1; Lattimore & Szepesvari (2020), Theorem 11.2",
        statement=(
            r"With $\eta = \sqrt{2\log K/(KT)}$ the pseudo-regret of Exp3 is at most $\sqrt{2TK\log K}$; computed "
            "exactly over all sequences of draws, for up to 8 rounds and 3 arms."
        ),
        kind=Inequality,
        premises=(OBLIVIOUS,),
        check=_exp3_check,
        control=partial(_exp3_check, bound=_hedge),
        control_statement=r"it is at most $\sqrt{\frac12 T \log K}$, the bound for those who see all losses.",
    ),
    claim(
        id="classic-bandits/exp3-anytime",
        source="Bubeck & Cesa-Bianchi (2012), Theorem 3.1",
        statement=(
            r"With $\eta_t = \sqrt{\log K/(Kt)}$ the pseudo-regret of Exp3 is at most $2\sqrt{TK\log K}$ for all $T$; "
            "computed exactly over all sequences of draws, for up to 8 rounds and 3 arms."
        ),
        kind=Inequality,
        premises=(OBLIVIOUS,),
        check=partial(_exp3_check, anytime=True, bound=regret.exp3_anytime),
        control=partial(_exp3_check, anytime=True, bound=_hedge),
        control_statement=r"it is at most $\sqrt{\frac12 T \log K}$, the bound for those who see all losses.",
    ),
    claim(
        id="classic-bandits/exp3-mixing",
        source="Auer, Cesa-Bianchi, Freund & Schapire (2002), Theorem 3.1",
        statement=(
            r"With any mixing $\gamma \in (0, 1]$ the pseudo-regret of Exp3 as first published is at most $(e-1)\gamma "
            r"G + \frac{K\log K}{\gamma}$, $G$ what the best arm earns; computed exactly over all sequences of draws, "
            "for 12 rounds and 2 arms."
        ),
        kind=Inequality,
        premises=(OBLIVIOUS,),
        check=_mixing_check,
        control=partial(_mixing_check, share=0.25),
        control_statement="a quarter of the bound suffices.",
    ),
    claim(
        id="classic-bandits/exp3-ix-high-probability",
        source="Neu (2015), Theorem 1",
        statement=(
            r"With $\eta = 2\gamma = \sqrt{2\log K/(KT)}$ the regret of Exp3-IX is, with probability $1 - \delta$, at "
            r"most $2\sqrt{2KT\log K} + \left(\sqrt{2KT/\log K} + 1\right)\log(2/\delta)$; for $\delta = 0.01$."
        ),
        kind=Probability,
        premises=(OBLIVIOUS, "a table of two arms that traps Exp3, $T = 8000$"),
        check=_high_probability_check,
        control=partial(_high_probability_check, algorithm=Exp3),
        control_statement="the same for Exp3 with the same learning rate.",
    ),
    claim(
        id="classic-bandits/tsallis-adversarial",
        source="Zimmert & Seldin (2021), Theorem 1",
        statement=(
            r"With $\eta_t = 2/\sqrt t$ the pseudo-regret of Tsallis-INF is at most $4\sqrt{KT} + 1$ against every "
            "adversary, here the worst found among those who change their rewards up to four times."
        ),
        kind=Comparison,
        premises=(OBLIVIOUS, "$T = 2000$, up to four arms"),
        check=TSALLIS_BOUND.check,
        control=partial(TSALLIS_BOUND.check, share=0.1),
        control_statement="a tenth of the bound suffices.",
    ),
    claim(
        id="classic-bandits/tsallis-adversarial-sharp",
        source="ours, sharpens Zimmert & Seldin (2021), Theorem 1",
        statement=(
            r"With $\eta_t = 2/\sqrt t$ the pseudo-regret of Tsallis-INF is at most $2\sqrt{KT} + 2(\sqrt K - 1)\sqrt "
            "T$; computed exactly over all sequences of draws, for 14 rounds and 2 arms."
        ),
        kind=Inequality,
        premises=(OBLIVIOUS,),
        check=_tsallis_check,
        control=partial(_tsallis_check, share=0.15),
        control_statement="0.15 of the bound suffices.",
    ),
    claim(
        id="classic-bandits/tsallis-stochastic",
        source="Zimmert & Seldin (2021), Theorem 1; the constants ours",
        statement=(
            r"The same algorithm has a regret of order $\sum_i \log T/\Delta_i$ where the gaps are fixed and the best "
            r"arm is unique: at most $4.58\sqrt K + \sum_i \sum_{t \le T} \max_{0 \le w \le 1} "
            r"\left[\left(\frac{4}{\sqrt t} + \frac{2}{t^{3/2}}\right)\sqrt w - \left(\Delta_i - \frac{2}{\sqrt t} - "
            r"\frac{8}{t}\right) w\right]$."
        ),
        kind=Comparison,
        premises=("gaps 0 and 0.5, means fixed or moving together", "$T = 10^5$"),
        check=_stochastic_check,
        control=partial(_stochastic_check, algorithm=Exp3(exp3_rate(2, 100_000))),
        control_statement="so has Exp3 with its rate for this horizon.",
    ),
    claim(
        id="classic-bandits/tsallis-logarithmic",
        source="Zimmert & Seldin (2021), Theorem 1",
        statement=(
            "With fixed means the regret of Tsallis-INF grows like a logarithm: the rounds from $10^4$ to $10^5$ cost "
            "at most twice what those from $10^3$ to $10^4$ do."
        ),
        kind=Comparison,
        premises=(BERNOULLI, "means 0.75 and 0.25", LARGE),
        check=partial(_growth_check, algorithm=lambda T: TsallisINF()),
        control=partial(_growth_check, algorithm=lambda T: Exp3(exp3_rate(2, T))),
        control_statement="the same for Exp3 with its rate for each horizon.",
    ),
    claim(
        id="classic-bandits/tsallis-constrained",
        source="Zimmert & Seldin (2021), Section 6",
        statement=(
            "Where the gaps are fixed but the means move in growing phases, UCB1 loses, by more than 1000, to "
            "Tsallis-INF."
        ),
        kind=Comparison,
        premises=("8 arms, gaps 0 and 0.125, $T = 10^5$",),
        check=_constrained_check,
        control=partial(_constrained_check, env=FIXED),
        control_statement="so it does where the means are fixed.",
    ),
    claim(
        id="classic-bandits/ucb1-fooled",
        source="folklore: no deterministic algorithm survives an adversary (Lattimore & Szepesvari 2020, Section 11.1)",
        statement=(
            "Against the table that pays 0 on arm $t$ mod $K$ in round $t$ and 1 on all others, UCB1 has a regret of "
            "at least $T/2$."
        ),
        kind=Comparison,
        premises=(OBLIVIOUS, "3 arms, $T = 10^4$"),
        check=_fooled_check,
        control=partial(_fooled_check, algorithm=TSALLIS),
        control_statement="so has Tsallis-INF.",
    ),
)
