"""What `kvctl shell` is made of: the daemon's own words, typed at a prompt.

running      the command
prompt       the prompt, and what is shown above it
piped        the same without a terminal
session      the daemon, through restarts and lost connections
memory       what a new connection must be told: the login, the watch
shown        lines as they are shown to people
own_words    the lines that are for the shell itself
completing   what TAB offers
asking       a connection of its own for that
history      what was typed, in a file
"""
