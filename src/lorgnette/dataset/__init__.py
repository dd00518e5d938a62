"""From files to arrays: decode, prepare, store, split."""
