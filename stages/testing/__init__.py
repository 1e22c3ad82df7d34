"""`pytest --stages`: snapshot tests of stages, and fixtures for any training loop.

The pages: docs/snapshot-testing.md and docs/testing-any-loop.md.

`plugin` is what pytest loads in every session; it imports nothing else of this package until it is used.
"""
