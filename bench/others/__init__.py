"""Other systems, and how to load them."""
