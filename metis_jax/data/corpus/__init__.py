"""Recordings on disk: manifests and layouts, shards, records."""
