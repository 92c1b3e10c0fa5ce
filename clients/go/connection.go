package kvd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

const firstPause, longestPause = 100 * time.Millisecond, 10 * time.Second // before connecting again

// Close ends the connection; the next request opens another.
func (c *Client) Close() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn = nil
}

func (c *Client) send(lines string) {
	if c.conn != nil && !c.isQuiet() { // what came unasked means that the place is lost, or that it has ended
		c.Close()
	}
	if c.conn == nil {
		_, port, err := net.SplitHostPort(c.Address)
		check(err == nil && port != "", "usage expected HOST:PORT")
		dialer := &net.Dialer{Timeout: c.Timeout}
		dial := dialer.Dial
		if c.TLS != nil {
			dial = (&tls.Dialer{NetDialer: dialer, Config: c.TLS}).Dial
		}
		conn, err := dial("tcp", c.Address)
		check(err == nil, fmt.Sprint("lost ", err))
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
		c.line("OK")
	}
}

func (c *Client) isQuiet() (quiet bool) {
	conn := c.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	raw, _ := conn.(*net.TCPConn).SyscallConn()
	raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN && c.lines.Buffered() == 0
	})
	return quiet
}

// Read is for the reader of lines: time is counted from the last byte.
func (c *Client) Read(data []byte) (int, error) {
	c.conn.SetReadDeadline(time.Now().Add(c.Timeout))
	return c.conn.Read(data)
}

// line gives the first word of the next line that is expected, and the rest after one space.
func (c *Client) line(expected string) (word, rest string) {
	for !isAmong(expected, word) {
		line, err := c.lines.ReadString('\n')
		check(err == nil, fmt.Sprint("lost ", err))
		word, rest, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		check(word != "ERR", rest)
		// These words are closed for good; what is not known is skipped.
		check(isAmong(expected, word) || !isAmong("OK OK64 NONE CONFLICT", word), "lost its place")
	}
	return word, rest
}

func isAmong(words, word string) bool { return strings.Contains(" "+words+" ", " "+word+" ") }

func check(holds bool, line string) { // else that is the error, CODE TEXT; the code `lost` is of the connection
	if !holds {
		part := errorLine.FindStringSubmatch(line)
		panic(&Error{part[1], part[2], part[3]})
	}
}

func try(do func()) (err error) {
	defer func() { err, _ = recover().(error) }()
	do()
	return nil
}

func (c *Client) rest(retry string) { // before it connects again: each time longer, or as told
	if c.pause < longestPause/2 {
		c.pause = 2*c.pause + firstPause
	}
	told, err := time.ParseDuration(retry + "s")
	if err != nil || told <= 0 {
		told = c.pause/2 + time.Duration(time.Now().UnixNano())%(c.pause/2) // the clock is random enough
	}
	time.Sleep(told)
}
