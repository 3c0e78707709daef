"""Papers as claims and figures, and what runs, stores and reports them."""

assert __name__ == "claimlab.experiments", (
    "write `import claimlab.experiments`: `experiments` alone would load a second copy"
)
