"""What agent and server agree on: bytes on the wire and bytes in the store, with no socket, file or clock."""
