"""What the ChangePolicies of a namespace say about a change: may it be applied, now, without being asked about."""
