"""What small character transformers did with the variants of group-relative REINFORCE: the recorded runs, judged.

The records are made by ``claimlab lm run stale`` and ``variants``, whose designs (`claimlab.experiments.lm.studies`)
were fixed before the runs; nothing is trained here.
"""

from __future__ import annotations

from functools import partial

from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.papers.group_relative_reinforce.common import claim
from claimlab.theory.evidence import Comparison, Outcome

SORTING = "sorts three digits, after demonstrations of which 15 % sort"
PREMISES = records.premises(SORTING, rates="five")
_stale = partial(records.judged, study="stale")
_variants = partial(records.judged, study="variants", data="stale")


CLAIMS = (
    claim(
        id="group-relative-reinforce/small-model-learns",
        source="ours, on Section 4 (recorded runs of a small model)",
        statement="On fresh data REINFORCE with the group mean gains over the policy that it starts from.",
        kind=Comparison,
        premises=PREMISES,
        check=partial(_stale, data="fresh", better="REINFORCE", worse="start"),
        control=partial(_stale, data="fresh", better="start", worse="REINFORCE"),
        control_statement="it loses.",
    ),
    *(
        claim(
            id=f"group-relative-reinforce/small-model-clip-{data}",
            source="Section 4 (clipping stabilises), on a small model (recorded runs)",
            statement=f"On {what} one-side clipping without importance weights beats REINFORCE.",
            kind=Comparison,
            premises=PREMISES,
            check=partial(_stale, data=data, better="one-side clip", worse="REINFORCE"),
            control=partial(_stale, data=data, better="REINFORCE", worse="one-side clip"),
            control_statement="REINFORCE beats one-side clipping.",
        )
        for data, what in (("stale", "data refreshed every 20 steps"), ("fixed", "answers of the start"))
    ),
    claim(
        id="group-relative-reinforce/small-model-red-drop",
        source="Section 4 (RED-Drop), on a small model (recorded runs)",
        statement="On data refreshed every 20 steps RED-Drop beats GRPO.",
        kind=Comparison,
        premises=(*PREMISES, "the control was first that GRPO beats RED-Drop, which these runs do not decide"),
        check=partial(_variants, better="RED-Drop", worse="GRPO"),
        control=partial(_variants, better="RED-Drop", worse="start"),
        control_statement="it beats the policy that it starts from.",
        expected=Outcome.REFUTED,
    ),
)


FIGURES = (
    PaperFigure(
        "small-models",
        "A small transformer on data that are fresh, refreshed every 20 steps, or answers of the start: the share of "
        "right answers, mean over ten seeds with 95 % intervals.  On fresh data the four arms are provably one.",
        partial(records.drawn, "stale"),
    ),
    PaperFigure(
        "small-models-variants",
        "The variants on data that are fresh, or refreshed every 20 steps: as in the figure before.  On fresh data "
        "REINFORCE and one-side clipping are provably one.",
        partial(records.drawn, "variants"),
    ),
    PaperFigure(
        "smollm2",
        "SmolLM2-135M with LoRA on products of digits, answers refreshed every 8 steps: the share right, mean over "
        "five seeds with 95 % intervals.  No claim stands on it: five pairs are too few.",
        partial(records.drawn, "smollm2"),
    ),
)
