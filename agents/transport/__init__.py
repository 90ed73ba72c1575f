"""The agent's side of the socket: TLS, one input/output thread, patience."""
