"""The server end of the socket protocol: takes what agents send to disk, and gives it back."""
