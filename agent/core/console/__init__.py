"""What the commands that talk to a cluster show: values made of the cluster's objects, and their text. Pure."""
