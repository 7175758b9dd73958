"""Commands that talk to a cluster with the user's kubeconfig: rollouts, changes, models."""
