"""What starts a run of a DataTrigger, and how it ended, as pure functions.

The status is the memory: what each reference meant when it was last dealt with, and every run. A run is written there
before its object is created, under a name that follows from the trigger and the data; so whatever happens between the
two, the same data has one run.
"""
