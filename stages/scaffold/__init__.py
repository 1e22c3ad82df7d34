"""A project of one's own: what `stages init` writes, and how `stages upgrade` moves it to a newer version."""
