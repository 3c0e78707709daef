"""Claims whose check takes more than ten seconds: `make verify`, which runs beside the tests, judges them instead."""

DEAR = {
    "classic-bandits/kl-ucb-bound",
    "classic-bandits/tsallis-constrained",
    "classic-bandits/tsallis-logarithmic",
    "classic-bandits/tsallis-stochastic",
    "learning-to-relax/chebcb-beats-tsallis-cb",
    "learning-to-relax/chebcb-elsewhere",
    "learning-to-relax/end-to-end",
    "learning-to-relax/heat-chebcb-beats-best-fixed",
    "learning-to-relax/heat-optimum-moves",
    "learning-to-relax/released-regret",
    *(
        f"dynamical-linear-bandits/{name}"
        for name in (
            "figure-1-crossover",
            "figure-1-d-lin-ucb",
            "figure-1-lin-ucb",
            "overestimated-rho-bar",
            "rate-T",
            "regret-explicit",
            "waiting-needed",
        )
    ),
    "loop/beaten-by-uclk-c",
    "loop/regret-bound-likelihood",
    "loop/switches-logarithmic",
    "props/reinforce-strong",
    "props/reinforce-systematic",
    "loop/thousand-models",
    "stepmix/epsmix-safe-on-average",
}


def cheap(claims):
    return [claim for claim in claims if claim.id not in DEAR]
