"""Keys and values that a file of entries, a line or a terminal may stumble over."""

VALUES = {
    "plain": b"hello",
    "empty": b"",
    "json": b'{"path": "C:\\temp"}',
    "lines": b"one\ntwo\r\n",
    "nul": b"\0\xff\xfe",
    "text/é€😀": "é€😀\u2028\x1b[31m".encode(),
    'a"quote\\': b"v",
    "z" * 512: b"x" * 70_000,
}
