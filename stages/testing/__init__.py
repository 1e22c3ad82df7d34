"""`pytest --stages`: snapshot tests of a project's stages (docs/snapshot-testing.md).

`plugin` is what pytest loads in every session; it imports nothing else of this package until --stages is used.
"""
