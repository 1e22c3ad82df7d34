"""Whether what was built on then is what is there now: by content, since a name is no part of a result."""

from __future__ import annotations

from collections.abc import Mapping

from stages.store import manifest
from stages.store.layout import Layout
from stages.store.manifest import ManifestError, Parent


def same(layout: Layout, then: Mapping[str, Parent], now: Mapping[str, Parent]) -> bool:
    """Whether two records of parents, by name, say the same of equally many; `now` is of what is in place."""
    left = list(then.values())
    for ref, parent in now.items():
        known = digests(layout, ref, parent)
        found = next((one for one in left if one.key == parent.key and one.manifest in known), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def digests(layout: Layout, ref: str, parent: Parent) -> set[str]:
    """What records may contain of a parent: what its manifest comes to, and, from before, the digest of its bytes."""
    try:
        record, of_bytes = manifest.read_with_digest(layout.manifest(ref))
    except ManifestError:
        return {parent.manifest}
    return {parent.manifest, of_bytes} if manifest.identity(record) == parent.manifest else {parent.manifest}
