"""Scanning, chunking, sealing, manifests, backing up, restoring."""
