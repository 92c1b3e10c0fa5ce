"""What `kvctl top` shows: a daemon's figures, live.

running     the command
live        the live screen
looking     asks the daemon, again and again, through its restarts
figures     what two looks say together
prefixes    the busiest prefixes, from one watch
drawing     the parts of the live screen
plain       the same as lines
keyboard    the terminal's keys, resizing and suspending
"""
