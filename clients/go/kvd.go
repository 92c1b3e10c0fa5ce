// Package kvd is a client of kvd.  A Client is one connection, for one goroutine, and one watch if it follows.
package kvd

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"math/rand"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const firstPause, longestPause = 100 * time.Millisecond, 10 * time.Second // before connecting again

var goodKey, plain = regexp.MustCompile(`^[^\x00-\x20\x7f*]+$`), regexp.MustCompile(`^[\t -~]*$`)
var goodPatterns = regexp.MustCompile(`^(([^\x00-\x20\x7f*]+\*?|\*)( |$))*$`)
var status, retry = regexp.MustCompile(`^(OK|OK64|NONE|CONFLICT|ERR)$`), regexp.MustCompile(`^(?:retry=([0-9.]+))?`)

// Error has the daemon's code; also `unavailable` (certainly not done), `uncertain` (perhaps done) and `conflict`, with
// the revision as its text.  Retry is empty, or the seconds that the daemon told.
type Error struct{ Code, Text, Retry string }

func (e *Error) Error() string { return e.Code + " " + e.Text }

func errorOf(line string) *Error {
	code, text, _ := strings.Cut(line, " ")
	return &Error{code, text, retry.FindStringSubmatch(text)[1]}
}

// Client is for one Address, HOST:PORT, which it gives up after Timeout without a byte while one is due.  It follows
// Patterns (with spaces between) after Position, which moves: keep it, and begin with it; `-` is for a copy first.
// It logs in as User with Password, if there is a User, and speaks TLS, if there is a TLS.
// Event is set, del, expire; copy, pair, gone, copied; or position; Key and Value are what it is of.
type Client struct {
	Address, User, Password, Position, Patterns, Event, Key string
	Value                                                   []byte
	Timeout, pause                                          time.Duration
	TLS                                                     *tls.Config
	conn                                                    net.Conn
	lines                                                   *bufio.Reader
	stage                                                   string // what a watch waits for: PROGRESS, FOLLOW, COPY or CHANGE
	ended                                                   *Error
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
	for pause, deadline := firstPause, time.Now().Add(c.Timeout); ; pause = sleep(pause, "") {
		err = try(func() {
			check(goodKey.MatchString(words[1]), errorOf("bad-key a key has no white space and no *"))
			c.closeUnlessQuiet()
			for c.send(strings.Join(words, " ") + end); !status.MatchString(word); { // other lines are skipped
				word, rest = c.line()
			}
			check(word != "CONFLICT", errorOf("conflict "+rest))
		})
		if known, _ := err.(*Error); err == nil || known != nil {
			return word, rest, err
		} else if c.conn != nil && !again {
			c.Close()
			return "", "", errorOf("uncertain no reply came: " + err.Error())
		} else if c.Close(); time.Now().After(deadline) {
			return "", "", errorOf("unavailable no reply came: " + err.Error())
		}
	}
}

func (c *Client) Next() error { // sets Event, Key, Value and Position, for ever
	if c.pause == 0 {
		rand.Seed(time.Now().UnixNano())
		c.pause = firstPause
	}
	for c.Event = ""; c.Event == ""; {
		err := try(c.step)
		known, _ := err.(*Error)
		switch {
		case err == nil:
			continue
		case known == nil: // the next connection goes on where this one ended
			known = &Error{}
		case known.Code == "compacted" || known.Code == "store" || known.Code == "future":
			c.Position = "-"
		case known.Code != "unavailable":
			return err
		}
		c.Close()
		c.pause = sleep(c.pause, known.Retry)
	}
	c.pause = firstPause
	return nil
}
func (c *Client) step() { // one line of a watch
	if c.conn == nil {
		check(goodPatterns.MatchString(c.Patterns), errorOf("bad-key no patterns with spaces between"))
		c.send(fmt.Sprintf("PROGRESS %.3f\nFOLLOW %s %s", c.Timeout.Seconds()/3, c.Position, c.Patterns))
		c.stage, c.ended = "PROGRESS", nil // without it silence could not be told from quiet
	}
	check(c.ended == nil, c.ended)
	word, rest := c.line()
	part := append(strings.SplitN(rest, " ", 4), "", "", "")
	switch c.stage + " " + word {
	case "PROGRESS OK":
		c.stage = "FOLLOW"
	case "FOLLOW OK", "COPY OK":
		check(c.stage == "COPY" || rest == c.Position, fmt.Errorf("it begins elsewhere"))
		c.Event = map[string]string{"FOLLOW": "position", "COPY": "copied"}[c.stage]
		c.stage, c.Position = "CHANGE", rest
	case "FOLLOW COPY":
		c.stage, c.Event = "COPY", "copy"
	case "COPY PAIR", "COPY PAIR64", "COPY GONE":
		c.tell(word, part[1], strings.TrimPrefix(rest, part[0]+" "+part[1]+" "))
	case "CHANGE CHANGE", "CHANGE PROGRESS", "CHANGE END":
		if word == "END" { // told as an event first, if it moves the position
			c.ended = errorOf("unavailable " + part[2] + " ")
		}
		if isAfter(part[0], c.Position) { // else it was told before
			c.Event, c.Position = "position", part[0]
			if word == "CHANGE" {
				c.tell(part[1], part[2], part[3])
			}
		}
	default:
		check(!status.MatchString(word), fmt.Errorf("lost its place"))
	}
}
func (c *Client) tell(word, key, value string) {
	c.Event, c.Key, c.Value = strings.ToLower(strings.TrimSuffix(word, "64")), key, valueOf(word, value)
}

// Close ends the connection; the next request opens another.
func (c *Client) Close() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn = nil
}
func (c *Client) closeUnlessQuiet() { // what came unasked means that the place is lost, or that the connection has ended
	if c.conn != nil {
		var err error
		conn := c.conn
		if secure, ok := conn.(*tls.Conn); ok {
			conn = secure.NetConn()
		}
		raw, _ := conn.(*net.TCPConn).SyscallConn()
		raw.Control(func(fd uintptr) {
			_, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		})
		if err != syscall.EAGAIN || c.lines.Buffered() > 0 {
			c.Close()
		}
	}
}
func (c *Client) send(lines string) {
	if c.conn == nil {
		var conn net.Conn
		var err error
		if dialer := (&net.Dialer{Timeout: c.Timeout}); c.TLS == nil {
			conn, err = dialer.Dial("tcp", c.Address)
		} else {
			conn, err = tls.DialWithDialer(dialer, "tcp", c.Address, c.TLS)
		}
		check(err == nil, err)
		c.conn, c.lines = conn, bufio.NewReaderSize(c, 1<<16)
		if err = try(c.logIn); err != nil { // nothing was asked yet
			c.Close()
			panic(err)
		}
	}
	c.conn.SetWriteDeadline(time.Now().Add(c.Timeout))
	c.conn.Write([]byte(lines + "\n")) // its end shows when the reply is read
}
func (c *Client) logIn() {
	if c.User != "" {
		c.send("AUTH " + c.User + " " + c.Password)
		word, _ := c.line()
		check(word == "OK", fmt.Errorf("lost its place"))
	}
}
func (c *Client) Read(data []byte) (int, error) { // for the reader of lines: time is counted from the last byte
	c.conn.SetReadDeadline(time.Now().Add(c.Timeout))
	return c.conn.Read(data)
}
func (c *Client) line() (word, rest string) { // the first word, and the rest after one space
	line, err := c.lines.ReadString('\n')
	check(err == nil, err)
	word, rest, _ = strings.Cut(strings.TrimSuffix(line[:len(line)-1], "\r"), " ")
	if word == "ERR" {
		panic(errorOf(rest))
	}
	return word, rest
}
func check(holds bool, err error) {
	if !holds {
		panic(err)
	}
}
func try(do func()) (err error) {
	defer func() { err, _ = recover().(error) }()
	do()
	return nil
}
func valueOf(word, value string) []byte {
	if bytes, err := base64.StdEncoding.DecodeString(value); err == nil && strings.HasSuffix(word, "64") {
		return bytes
	} else if word == "OK" || word == "PAIR" || word == "SET" {
		return []byte(value)
	}
	return nil
}
func isAfter(position, old string) bool { // revisions are numbers without leading zeros
	revision, store, _ := strings.Cut(position, "@")
	last, same, _ := strings.Cut(old, "@")
	check(store == same, fmt.Errorf("a position of another store came without a copy"))
	return len(revision) > len(last) || len(revision) == len(last) && revision > last
}
func sleep(pause time.Duration, retry string) time.Duration { // the next pause
	told, err := time.ParseDuration(retry + "s")
	if err != nil {
		told = pause/2 + time.Duration(rand.Int63n(int64(pause/2)))
	}
	time.Sleep(told)
	if pause > longestPause/2 {
		return longestPause
	}
	return pause * 2
}
