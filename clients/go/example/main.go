// Follows a prefix: prints what is there and every change, each once, through restarts of the daemon and its own.
//
// Usage: example HOST:PORT PREFIX FILE
//
// FILE keeps the position; without it the first thing is a copy.
package main

import (
	"fmt"
	"log"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"

	"kvd"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: example HOST:PORT PREFIX FILE")
		os.Exit(2)
	}
	file := os.Args[3]
	watch := kvd.Client{Address: os.Args[1], Patterns: os.Args[2] + "*", Position: "-", Timeout: 30 * time.Second}
	if strings.Contains(os.Args[2], " ") {
		log.Fatal("bad-key a PREFIX has no space") // it would be two patterns
	}
	if kept, err := os.ReadFile(file); err == nil {
		watch.Position = strings.TrimSpace(string(kept))
	} else if !os.IsNotExist(err) {
		log.Fatal(err)
	}
	if watch.Position == "" {
		log.Fatal(file, ": it holds no position: remove it to begin with a copy")
	}
	signal.Ignore(syscall.SIGPIPE) // a reader who went away is an error of the one who prints
	items := map[string][]byte{}
	for {
		if err := watch.Next(); err != nil {
			log.Fatal(err)
		}
		switch watch.Event {
		case "copy":
			items = map[string][]byte{}
			continue
		case "pair":
			items[watch.Key] = watch.Value
			continue
		case "gone":
			delete(items, watch.Key)
			continue
		case "copied":
			showAll(items)
		case "set", "del", "expire":
			show(watch.Event, watch.Key, watch.Value)
		}
		// What is printed is done: only then is its position kept, in one step.
		if err := os.WriteFile(file+".new", []byte(watch.Position), 0o600); err != nil {
			log.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			log.Fatal(err)
		}
	}
}

func show(word, key string, value []byte) { // or it ends
	if _, err := fmt.Println(word, key, string(value)); err != nil {
		log.Fatal(err)
	}
}

func showAll(items map[string][]byte) {
	keys := make([]string, 0, len(items))
	for key := range items {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		show("is", key, items[key])
	}
}
