"""What small character transformers did with the variants of group-relative REINFORCE: the recorded runs, judged.

The record is made by ``claimlab lm run stale``, whose design (`claimlab.experiments.lm.studies`) was fixed before the
run; nothing is trained here.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.papers.group_relative_reinforce.common import claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison

PREMISES = (
    "recorded runs: a transformer of 8e4 parameters sorts three digits, after demonstrations of which 15 % sort",
    "60 steps of 16 prompts with 8 answers, AdamW, each arm at the best of five rates on another seed, 10 paired seeds",
    "metric: the mean share of right answers over the evaluations after the start; smallest effect 0.02",
)


def _difference(budget: Budget, data: str, better: str, worse: str) -> Comparison:
    """Of the recorded runs, whatever the budget; with the sides reversed, the control."""
    record = records.packaged("stale")
    return records.difference(records.table_of(record), data, better, worse, record["effect"])


CLAIMS = (
    claim(
        id="group-relative-reinforce/small-model-learns",
        source="ours, on Section 4 (recorded runs of a small model)",
        statement="On fresh data REINFORCE with the group mean gains over the policy that it starts from.",
        kind=Comparison,
        premises=PREMISES,
        check=partial(_difference, data="fresh", better="REINFORCE", worse="start"),
        control=partial(_difference, data="fresh", better="start", worse="REINFORCE"),
        control_statement="it loses.",
    ),
    *(
        claim(
            id=f"group-relative-reinforce/small-model-clip-{data}",
            source="Section 4 (clipping stabilises), on a small model (recorded runs)",
            statement=f"On {what} one-side clipping without importance weights beats REINFORCE.",
            kind=Comparison,
            premises=PREMISES,
            check=partial(_difference, data=data, better="one-side clip", worse="REINFORCE"),
            control=partial(_difference, data=data, better="REINFORCE", worse="one-side clip"),
            control_statement="REINFORCE beats one-side clipping.",
        )
        for data, what in (("stale", "data refreshed every 20 steps"), ("fixed", "answers of the start"))
    ),
)


def _draw(name: str) -> tuple[Figure, pd.DataFrame]:
    return records.draw(records.table_of(records.packaged(name)))


FIGURES = (
    PaperFigure(
        "small-models",
        "A small transformer on data that are fresh, refreshed every 20 steps, or answers of the start: the share of "
        "right answers, mean over ten seeds with 95 % intervals.  On fresh data the four arms are provably one.",
        partial(_draw, "stale"),
    ),
    PaperFigure(
        "small-models-variants",
        "The variants on data refreshed every 20 steps: as in the figure before.",
        partial(_draw, "variants"),
    ),
)
