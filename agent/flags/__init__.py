"""The flags of `weir run`, one module a subject.

The destination of a flag is the name of the setting that it decides, and its type gives the setting's value; so what
was parsed are the arguments of `agent.settings.Settings`.
"""
