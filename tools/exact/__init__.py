"""The papers' claims on data whose score has a closed form: without training, at the papers' settings.

Each oracle is a function that returns its numbers, with what they have to be and how near; docs/exact.md walks through
them.
"""
