"""HTTP, for browsers, curl, Prometheus and probes (`--http`, docs/http.md): the same store, users and limits.

h11 parses it: pure Python without dependencies, strict, and without I/O of its own, so that connections, TLS, limits
and the end of the daemon are those of all other connections.  aiohttp brings a server, a router and eight packages
beside it, of which this needs none.  Nothing here is imported unless `--http` is given.

messages    what is asked and what is answered
needed      whether the packages are there
hosts       to whom a browser may think that it speaks
visitor     who asks, and what they may do
keys        /v1/keys: one key, and pages of them
counting    what is counted of requests
taking      whether a client takes what it is sent
events      /v1/watch: changes as server-sent events
clients     /v1/clients: who is connected
exposition  /metrics: the metrics, as Prometheus takes them
page        /: the live page
routes      from paths to these
exchange    requests read and answers sent, one after the other
connection  one connection, from its first byte to its end
serving     a connection for each who comes
"""
