"""Open Bandit Pipeline: one estimator after the other."""

from __future__ import annotations

import warnings
from typing import Any

from protocol import Instance, Task, serve

warnings.filterwarnings("ignore")

from obp.ope import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    DirectMethod,
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
)

CLASSES = {
    "ips": InverseProbabilityWeighting,
    "snips": SelfNormalizedInverseProbabilityWeighting,
    "dm": DirectMethod,
    "dr": DoublyRobust,
}


def build(log: Instance, task: Task) -> Any:
    given = {"reward": log["rewards"], "action": log["actions"], "pscore": log["propensities"]}
    given |= {"action_dist": log["target"][:, :, None], "estimated_rewards_by_reg_model": log["model"][:, :, None]}
    return [CLASSES[name]() for name in task["estimators"]], given


def solve(model: Any, task: Task) -> Any:
    estimators, given = model
    return [estimator.estimate_policy_value(**given) for estimator in estimators]


if __name__ == "__main__":
    serve("obp", build, solve, lambda model, solved, task: (solved, None))
