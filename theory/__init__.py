"""Claims, evidence, falsification, and the mathematics that several papers share."""

assert __name__ == "claimlab.theory", "write `import claimlab.theory`: `theory` alone would load a second copy"
