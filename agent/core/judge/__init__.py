"""Statistics of a rollout: is the canary worse than it may be, or than the primary?

Pure functions of counts. Three answers: pass, fail, inconclusive; an inconclusive one asks for more samples and blames
nobody. Why fixed thresholds are not enough at low traffic is in docs/judges.md, with the figures.
"""
