"""What a user writes who has installed claimlab: it runs, and type checkers find in the package what they expect."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, assert_type

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from claimlab.bandits import UCB1, Algorithm, Bernoulli, Record, play
from claimlab.experiments import Ledger, verify
from claimlab.mdps import Solution, TabularMDP, garnet, policy_value, solve
from claimlab.theory import SMOKE, Box, Budget, Claim, Inequality, Outcome, Paper, Simplex, Space, Trials, attack

Vector = NDArray[np.float64]

PAPER = Paper("mine", "Title", "A. Author", "Venue 2025", "", "theory-checkable")
BANDITS = Space({"K": (2, 5)}, {"p": Simplex("K"), "reward": Box("K", 0, 1)})


def within(p: Vector, reward: Vector, share: float) -> Trials:
    return Trials((p * reward).sum(axis=-1), share * reward.max(axis=-1), error=1e-14, trivial=1.0)


def check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(BANDITS, partial(within, share=share), budget, batched=True)


CLAIM = Claim(
    id="mine/mean-below-maximum",
    paper=PAPER,
    source="Lemma 1",
    statement=r"$E_p r \le \max_a r(a)$",
    kind=Inequality,
    premises=(),
    check=check,
    control=partial(check, share=0.5),
    control_statement="with half of the bound.",
)


class Nothing(NamedTuple):
    pulls: Vector


@dataclass(frozen=True)
class Uniform(Algorithm):
    """An algorithm of a user: compiled like ours."""

    def init(self, n_arms: int, horizon: int) -> Nothing:
        return Nothing(np.zeros(n_arms))

    def act(self, state: Nothing, t: int, rng: Generator) -> int:
        return int(rng.integers(0, state.pulls.size))

    def learn(self, state: Nothing, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1


def main() -> None:
    mdp = garnet(6, 2, 3, 0.9, np.random.default_rng(0))
    solution = assert_type(solve(assert_type(mdp, TabularMDP)), Solution)
    value = policy_value(mdp, solution.policy)
    assert abs(value.v - solution.v).max() <= solution.error + value.error

    arms = Bernoulli(np.array([0.4, 0.6]))
    record = assert_type(play(UCB1(), arms, horizon=200, runs=5, seed=0), Record)
    other = play(Uniform(), arms, horizon=200, runs=5, seed=0)
    assert record.regret[:, -1].mean() < other.regret[:, -1].mean()

    ledger = assert_type(verify([CLAIM], SMOKE), Ledger)
    rows: dict[str, Any] = ledger.to_json()
    assert ledger.as_expected
    assert len(rows["claims"]) == 1
    assert ledger.rows[0].verdict == Outcome.SUPPORTED


if __name__ == "__main__":
    main()
