"""Rollouts of KServe's objects, in which the target itself serves: there is no primary copy.

`content` says which fields make a revision and what the annotations on an object mean; `standard`, `knative` and `llm`
say for one way of serving what is going on and what is to be written; `services` chooses among them. Sources of the
behaviour: KServe's API types, its validating webhook and its reconcilers (main after 0.20).
"""
