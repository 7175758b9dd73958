"""Extractors: from one rendered object, or one file of the repository, to its slots."""
