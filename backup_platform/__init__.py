"""The Strongroom platform: what runs on the server."""
