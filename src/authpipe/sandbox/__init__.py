"""A simulator of the providers, true to their documented behaviour, with faults on demand.

It imports nothing of the server: it is another party, reached over HTTP only.
"""
