"""Whether ChangePolicies can be followed."""
