"""The verbs of `strongroom`, one file each. A verb parses, calls the engine or the transport, and renders."""
