// Package kvd is a client of kvd: this file and connection.go.  A Client is one connection, for one goroutine, and one
// watch if it follows.
package kvd

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

var goodKey, plain = regexp.MustCompile(`^[^\x00-\x20\x7f*]+$`), regexp.MustCompile(`^[\t -~]*$`)
var goodPatterns = regexp.MustCompile(`^(([^\x00-\x20\x7f*]+\*?|\*)( |$))*$`)
var errorLine = regexp.MustCompile(`(?s)^([^ ]*) ?((?:retry=([0-5]?[0-9](?:\.[0-9]+)?|60)(?: |$))?.*)$`)

// Error has the daemon's code; also `unavailable` (certainly not done), `uncertain` (perhaps done) and `conflict`, with
// the revision as its text.  Retry is empty, or the seconds that the daemon told.
type Error struct{ Code, Text, Retry string }

func (e *Error) Error() string { return e.Code + " " + e.Text }

// Client is for one Address, HOST:PORT, which it gives up after Timeout without a byte while one is due.  It follows
// Patterns (with spaces between) after Position, which moves: keep it, and begin with it; `-` is for a copy first.
// It logs in as User with Password, if there is a User, and speaks TLS, if there is a TLS.
// Event is set, del, expire; copy, pair, gone, copied; or position; Key and Value are what it is of, or empty.
type Client struct {
	Address, User, Password, Position, Patterns, Event, Key string
	Value                                                   []byte
	Timeout, pause                                          time.Duration
	TLS                                                     *tls.Config
	conn                                                    net.Conn
	lines                                                   *bufio.Reader
	copying                                                 bool
}

func (c *Client) Get(key string) ([]byte, error) { // nil where there is no such key
	word, rest, err := c.ask(true, "", "GET", key)
	return valueOf(word, rest), err
}

func (c *Client) Set(key string, value []byte) (string, error) { return c.Put(key, value) } // the revision

func (c *Client) Put(key string, value []byte, options ...string) (string, error) { // ttl=SECONDS, if=REVISION
	text := string(value)
	if !plain.MatchString(text) { // the daemon sees for itself whether it is text
		text, options = base64.StdEncoding.EncodeToString(value), append(options, fmt.Sprint("base64=", len(value)))
	}
	_, revision, err := c.ask(false, " = "+text, append([]string{"PUT", key}, options...)...)
	return revision, err
}

func (c *Client) Del(key string, options ...string) (string, error) { // if=REVISION; empty where there was no such key
	_, revision, err := c.ask(false, "", append([]string{"DEL", key}, options...)...)
	return revision, err
}

// ask asks again when no reply came, if so told; what was not sent yet may always be sent.
func (c *Client) ask(again bool, end string, words ...string) (word, rest string, err error) {
	for deadline := time.Now().Add(c.Timeout); ; c.rest("") {
		err = try(func() {
			check(goodKey.MatchString(words[1]), "bad-key a key has no white space, no control character and no *")
			c.send(strings.Join(words, " ") + end)
			word, rest = c.line("OK OK64 NONE CONFLICT")
			check(word != "CONFLICT", "conflict "+rest)
		})
		sent := c.conn != nil
		known, _ := err.(*Error)
		if known == nil || known.Code != "lost" {
			c.pause = 0
			return word, rest, err
		}
		c.Close()
		if sent && !again {
			return "", "", &Error{"uncertain", "no reply came: " + known.Text, ""}
		} else if time.Now().After(deadline) {
			return "", "", &Error{"unavailable", "no reply came: " + known.Text, ""}
		}
	}
}

func (c *Client) Next() error { // sets Event, Key, Value and Position, for ever
	for c.Event, c.Key, c.Value = "", "", nil; c.Event == ""; {
		if err := try(c.step); err != nil {
			known, _ := err.(*Error)
			if known != nil && isAmong("compacted store future", known.Code) {
				c.Position = "-"
			} else if known == nil || !isAmong("lost unavailable", known.Code) {
				return err
			}
			c.Close() // the next connection goes on where this one ended
			c.rest(known.Retry)
		}
	}
	c.pause = 0
	return nil
}

func (c *Client) step() { // one line of a watch
	if c.conn == nil {
		check(goodPatterns.MatchString(c.Patterns), "bad-key expected patterns with spaces between")
		c.send(fmt.Sprintf("PROGRESS %.3f\nFOLLOW %s %s", c.Timeout.Seconds()/3, c.Position, c.Patterns))
		c.line("OK") // of PROGRESS, without which silence could not be told from quiet
		word, rest := c.line("OK COPY")
		c.copying = word == "COPY"
		check(c.copying || rest == c.Position, "lost it begins elsewhere")
		c.Event = map[bool]string{true: "copy", false: "position"}[c.copying]
		return
	}
	word, rest := c.line(map[bool]string{true: "OK PAIR PAIR64 GONE", false: "CHANGE PROGRESS END"}[c.copying])
	part := append(strings.SplitN(rest, " ", 4), "", "", "")
	if word == "OK" {
		c.copying, c.Event, c.Position = false, "copied", rest
	} else if c.copying {
		c.tell(word, part[1], strings.TrimPrefix(rest, part[0]+" "+part[1]+" "))
	} else {
		if isAfter(part[0], c.Position) { // else it was told before
			c.Event, c.Position = "position", part[0]
			if word == "CHANGE" {
				c.tell(part[1], part[2], part[3])
			}
		}
		check(word != "END", "unavailable "+part[2]+" ")
	}
}

func (c *Client) tell(word, key, value string) {
	c.Event, c.Key, c.Value = strings.ToLower(strings.TrimSuffix(word, "64")), key, valueOf(word, value)
}

func valueOf(word, value string) []byte { // nil where there is none
	if bytes, err := base64.StdEncoding.DecodeString(value); err == nil && strings.HasSuffix(word, "64") {
		return bytes
	} else if isAmong("OK PAIR SET", word) {
		return []byte(value)
	}
	return nil
}

func isAfter(position, old string) bool { // revisions are numbers without leading zeros
	revision, store, _ := strings.Cut(position, "@")
	last, same, _ := strings.Cut(old, "@")
	check(store == same, "lost a position of another store came without a copy")
	return len(revision) > len(last) || len(revision) == len(last) && revision > last
}
