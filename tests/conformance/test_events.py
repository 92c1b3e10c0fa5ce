"""In the languages where an event is in variables or fields, nothing in them is left over from another event."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.languages import LANGUAGES, Workshop
from tests.support.processes import PATIENCE, Daemon, needs

BASH = """
. ./kvd.sh
kvd_set left/x 1; kvd_follow - 'left/*'
while [ "$KVD_EVENT" != del ] && kvd_next; do
    echo "$KVD_EVENT [$KVD_KEY] [$KVD_VALUE]"
    [ "$KVD_EVENT" != copied ] || kvd_del left/x
done
"""
C = r"""
#include "kvd.h"
int main(void) {
    kvd k = {.address = getenv("KVD_ADDRESS"), .timeout = 30}, other = k;
    kvd_set(&other, "left/x", "1", 1);
    if (kvd_follow(&k, "-", "left/*")) return 1;
    for (k.event = ""; strcmp(k.event, "del") && !kvd_next(&k);) {
        printf("%s [%s] [%.*s]\n", k.event, k.key, (int)k.size, k.value);
        if (!strcmp(k.event, "copied")) kvd_del(&other, "left/x", "");
    }
}
"""
GO = """package main

import (
	"fmt"
	"kvd"
	"os"
	"time"
)

func main() {
	watch := kvd.Client{Address: os.Getenv("KVD_ADDRESS"), Timeout: 30 * time.Second, Position: "-", Patterns: "left/*"}
	other := kvd.Client{Address: watch.Address, Timeout: watch.Timeout}
	other.Set("left/x", []byte("1"))
	for watch.Event != "del" && watch.Next() == nil {
		fmt.Printf("%s [%s] [%s]\\n", watch.Event, watch.Key, watch.Value)
		if watch.Event == "copied" {
			other.Del("left/x")
		}
	}
}
"""
PROGRAMS = {
    "bash": ("events.sh", BASH, "bash events.sh"),
    "c": ("events.c", C, "gcc -O1 -o events events.c && ./events"),
    "go": ("events/main.go", GO, "go run ./events"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_event_has_nothing_of_the_one_before(workshop: Workshop, shared_daemon: Daemon, name: str) -> None:
    needs(LANGUAGES[name].tool)
    file, text, command = PROGRAMS[name]
    place: Path = workshop.prepare(name)
    (place / file).parent.mkdir(exist_ok=True)
    (place / file).write_text(text)
    done = subprocess.run(
        ["bash", "-c", command], cwd=place, env=os.environ | {"KVD_ADDRESS": shared_daemon.addr},
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    shown = [line for line in done.stdout.splitlines() if not line.startswith("position ")]
    assert shown == ["copy [] []", "pair [left/x] [1]", "copied [] []", "del [left/x] []"]
