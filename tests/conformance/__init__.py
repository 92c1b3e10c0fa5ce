"""The kit that certifies clients, and the clients that it certifies."""
