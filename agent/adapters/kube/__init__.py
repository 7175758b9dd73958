"""The Kubernetes API: configuration, a thin client, discovery, listing and watching.

config      where the API server is and who we are there
transport   one HTTP session: credentials, deadlines, retries
client      the verbs: get, list, apply, create, patch, delete, events
discovery   kind to resource
watch       list and watch for the runtime's watcher
errors      what the API server says when it says no
"""
