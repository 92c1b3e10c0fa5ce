"""How servers that replicate each other are reached: with passwords, and by TLS."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.tls import Authority


class Access:
    """What servers want of who asks them.

    password, sentinel_password: "" for none.  authority: who signs for them, if they are asked by TLS.
    """

    def __init__(self, certificates: Path | None = None, password: str = "", sentinel_password: str = "") -> None:
        """certificates: a directory for them, None without TLS."""
        self.password, self.sentinel_password = password, sentinel_password
        self.authority = Authority(certificates) if certificates else None

    def of_servers(self) -> list[str]:
        """Options of servers that hold data."""
        return ["--requirepass", self.password, "--masterauth", self.password] if self.password else []

    def of_sentinels(self, name: str) -> list[str]:
        """Lines of the configuration of Sentinels.  name: of the primary."""
        lines = [f'sentinel auth-pass {name} "{self.password}"'] if self.password else []
        if self.sentinel_password:
            lines += [f'{word} "{self.sentinel_password}"' for word in ("requirepass", "sentinel sentinel-pass")]
        return lines

    def listening(self, host: str, port: int, *, cluster: bool = False) -> list[str]:
        """Options for where one listens."""
        if not self.authority:
            return ["--port", str(port)]
        certificate, key = map(str, self.authority.sign(host))
        return [
            "--port", "0", "--tls-port", str(port), "--tls-replication", "yes", "--tls-auth-clients", "no",
            "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", str(self.authority.file),
            *(["--tls-cluster", "yes"] if cluster else []),
        ]  # fmt: skip

    def client(self, *, of_sentinel: bool = False) -> dict[str, Any]:
        """Arguments of redis-py's client."""
        password = self.sentinel_password if of_sentinel else self.password
        tls = {"ssl": True, "ssl_ca_certs": str(self.authority.file)} if self.authority else {}
        return {"password": password or None, **tls}

    def url(self, kind: str, nodes: Sequence[tuple[str, int]], name: str = "") -> str:
        """For --store.  name: what follows the nodes."""
        user = f":{quote(self.password, safe='')}@" if self.password else ""
        query = [f"sentinel_password={quote(self.sentinel_password, safe='')}"] if name and user else []
        query += [f"ssl_ca_certs={self.authority.file}"] if self.authority else []
        scheme = f"redis{'s' if self.authority else ''}+{kind}"
        places = ",".join(f"{host}:{port}" for host, port in nodes)
        return f"{scheme}://{user}{places}{name}{'?' if query else ''}{'&'.join(query)}"


FREE = Access()
