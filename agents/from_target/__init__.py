"""Reading snapshots from a store's files and the recovery kit, without any server.

Everything that proves and places is the engine's own: this package only answers its questions from a directory or a
bucket, where otherwise a gateway would. docs/how-to/restore-without-a-server.md tells the order of reading.
"""
