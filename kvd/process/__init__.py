"""What a process of its own needs from the system.

reaping       what process 1 owes to the children of others
child         a child process that is started again when it dies
service       the event loop, the logger, and the signals that end a process
activity      whether anybody is connected, and pauses that are longer while nobody is
service_manager  what a service manager is told
log_lines     the lines of the log
tasks         tasks that run together
sockets       sockets to listen on
accepting     connections that come to them, a few at a time
activation    those that a service manager passes on
unix_sockets  those that are files
tls           the server's side of TLS: certificates, and handshakes in flight
over_transport  a transport over another one
tls_bytes     TLS without I/O
tls_transport  TLS between a socket's transport and a protocol
identity      who a peer is, as far as its connection tells
addresses     how many connections each address has
half_open     peers that are gone without a word
limits        the limit of open files
audit         the audit log
limited_log   log lines that peers cause
shared_bytes  memory that several processes share
freed_memory  memory that was freed, given back to the system
machine       how much memory there is for this process
"""
