from claimlab.experiments.papers.policy_smoothing import lemma, premises
CLAIMS = (*lemma.CLAIMS, *premises.CLAIMS)
