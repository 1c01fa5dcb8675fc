"""Study folders: an append-only journal, a manifest, and tables derived from them."""
