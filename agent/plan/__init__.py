"""`weir plan`: what a change of a repository does to models and data, told from its Git objects alone."""
