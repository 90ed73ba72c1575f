"""Bytes at rest <-> objects: packs, reference blocks, roots, statements, records. Layouts: docs/storage-format.md."""
