"""The line protocol, pure: bytes in, requests out; values in, reply lines out.  No I/O, no asyncio.

lines       bytes to lines, however they are cut into chunks
words       the grammar of single words: keys, patterns, numbers, values
options     options among the words after a verb
requests    the arguments of each verb, but for
watches     those that give changes
shortcuts   whole chunks of the commonest requests
asking      requests as lines, of a daemon that asks another one
replies     the lines that the server sends
"""
