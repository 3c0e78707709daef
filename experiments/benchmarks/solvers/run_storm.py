"""Storm, through stormpy.

Discounting is Storm's usual one: rows are scaled by gamma and the rest goes to a sink; the value is the expected total
reward until the sink.  Rewards that are nowhere positive become costs; of mixed sign, they are shifted to be positive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import stormpy  # pyright: ignore[reportMissingImports]
from protocol import Instance, Task, serve
from stormpy.datastructures import SparseMatrixBuilder  # pyright: ignore[reportMissingImports]
from stormpy.environments import MinMaxMethod  # pyright: ignore[reportMissingImports]
from stormpy.models import SparseMdp, SparseModelComponents, SparseRewardModel, StateLabeling  # pyright: ignore[reportMissingImports]

PROPERTIES = {"discounted": '[F "sink"]', "average": "[LRA]", "episodic": "[C<={horizon}]"}


def build(instance: Instance, task: Task) -> Any:
    r = instance["r"]
    S, A = r.shape
    sign, shift = (-1.0, 0.0) if r.max() <= 0 else (1.0, min(float(r.min()), 0.0))
    stays = task["gamma"] if task["criterion"] == "discounted" else 1.0
    if "P" in instance:
        rows, columns = np.nonzero(instance["P"].reshape(S * A, S))
        indptr, data = np.searchsorted(rows, np.arange(S * A + 1)), instance["P"].reshape(S * A, S)[rows, columns]
    else:
        indptr, columns, data = instance["indptr"], instance["indices"], instance["data"]
    starts, successors, weights = indptr.tolist(), columns.tolist(), (stays * data).tolist()
    builder = SparseMatrixBuilder(
        rows=0, columns=0, entries=0, force_dimensions=False, has_custom_row_grouping=True, row_groups=0
    )
    for row in range(S * A):
        if row % A == 0:
            builder.new_row_group(row)
        for k in range(starts[row], starts[row + 1]):
            builder.add_next_value(row, successors[k], weights[k])
        if stays < 1:
            builder.add_next_value(row, S, 1 - stays)
    rewards = (sign * (r - shift)).ravel()
    if stays < 1:
        builder.new_row_group(S * A)
        builder.add_next_value(S * A, S, 1.0)
        rewards = np.append(rewards, 0.0)
    labels = StateLabeling(S + (stays < 1))
    labels.add_label("init")
    labels.add_label_to_state("init", 0)
    labels.add_label("sink")
    if stays < 1:
        labels.add_label_to_state("sink", S)
    model = SparseRewardModel(optional_state_action_reward_vector=rewards.tolist())
    parts = SparseModelComponents(transition_matrix=builder.build(), state_labeling=labels, reward_models={"r": model})
    return SparseMdp(parts), sign, shift, S


def solve(model: Any, task: Task) -> Any:
    mdp, sign, _, _ = model
    environment = stormpy.Environment()
    if task["criterion"] == "discounted":
        minmax = environment.solver().min_max()
        minmax.method = getattr(MinMaxMethod, task["method"].upper())
        minmax.precision = stormpy.Rational(str(task["tol"]))
        minmax.relative_termination_criterion = False
    goal = PROPERTIES[task["criterion"]].format(**task)
    formula = stormpy.parse_properties(f'R{{"r"}}{"min" if sign < 0 else "max"}=? {goal}')[0]
    return stormpy.model_checking(mdp, formula, environment=environment, only_initial_states=False)


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, int | None]:
    _, sign, shift, S = model
    match task["criterion"]:
        case "discounted":
            steps = 1 / (1 - task["gamma"])
        case "episodic":
            steps = task["horizon"]
        case _:
            steps = 1
    values = sign * np.array(solved.get_value_vector())[:S] + shift * steps
    return (values[:1] if task["criterion"] == "average" else values), None


if __name__ == "__main__":
    serve("stormpy", build, solve, answer)
