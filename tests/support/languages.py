"""The clients in other languages: what their programs need, and how they are built and run."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import ROOT

CLIENTS = ROOT / "clients"


class Language(NamedTuple):
    """tool: the program that it needs; client: the file; adapter, example: commands; build: run in a copy of it all."""

    tool: str
    client: str
    adapter: list[str]
    example: list[str]
    build: str = ""


# A JVM for each rule: it need not be fast for long.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "."]
LANGUAGES = {
    "bash": Language("bash", "kvd.sh", ["bash", "adapter.sh"], ["bash", "example.sh"]),
    "c": Language(
        "gcc", "kvd.h", ["adapter"], ["example"], "gcc -O1 -o adapter adapter.c; gcc -O1 -o example example.c"
    ),
    "go": Language(
        "go", "kvd.go", ["certified"], ["shown"], "go build -o certified ./adapter; go build -o shown ./example"
    ),
    "java": Language("javac", "Kvd.java", [*JAVA, "Adapter"], [*JAVA, "Example"], "javac *.java"),
    "javascript": Language("node", "kvd.mjs", ["node", "adapter.mjs"], ["node", "example.mjs"]),
    "perl": Language("perl", "Kvd.pm", ["perl", "adapter.pl"], ["perl", "example.pl"]),
}


class Workshop:
    """Builds the clients, each once, in directories of their own."""

    def __init__(self, room: Path) -> None:
        self._room = room

    def prepare(self, name: str) -> Path:
        """The directory with a language's programs."""
        place = self._room / name
        if not place.exists():
            shutil.copytree(CLIENTS / name, place)
            if LANGUAGES[name].build:
                subprocess.run(["bash", "-ec", LANGUAGES[name].build], cwd=place, check=True, timeout=100)
        return place


def command_of(words: list[str], room: Path) -> list[str]:
    """The words with the files of a directory by their whole names."""
    return [str(room / word) if (room / word).exists() else word for word in words]
