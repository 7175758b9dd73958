"""The demo: a model is changed in Git, four times, in front of real clients."""
