"""kvctl, the command line of kvd's clients; everything it knows of the wire is in kvd.client."""
