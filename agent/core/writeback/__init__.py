"""Writing a rejected reference back to Git: what may be written where, which bytes change, and what the commit says."""
