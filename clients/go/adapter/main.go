// The adapter with which ../conformance certifies kvd.go.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"strconv"
	"time"

	"kvd"
)

var out = json.NewEncoder(os.Stdout)

func say(member string, value any, err error, more ...string) {
	line := map[string]any{member: value}
	if known, ok := err.(*kvd.Error); ok && known.Code == "conflict" {
		line = map[string]any{"conflict": known.Text}
	} else if ok {
		line = map[string]any{"error": known.Code, "retry": known.Retry}
	}
	for n := 0; n < len(more); n += 2 {
		line[more[n]] = more[n+1]
	}
	out.Encode(line)
}

func follow(c *kvd.Client) {
	say("ok", "", nil)
	for {
		if err := c.Next(); err != nil {
			say("", "", err, "event", "error")
			return
		}
		more := []string{"event", c.Event, "position", c.Position}
		if c.Event != "copy" && c.Event != "copied" && c.Event != "position" {
			more = append(more, "key", c.Key)
		}
		if c.Event == "pair" || c.Event == "set" {
			more = append(more, "value64", base64.StdEncoding.EncodeToString(c.Value))
		}
		say("", nil, nil, more...)
	}
}

func main() {
	var c *kvd.Client
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		asked := map[string]string{}
		json.Unmarshal(lines.Bytes(), &asked)
		value := []byte(asked["value"])
		if encoded, ok := asked["value64"]; ok {
			value, _ = base64.StdEncoding.DecodeString(encoded)
		}
		var options []string
		for _, name := range []string{"ttl", "if"} {
			if given, ok := asked[name]; ok {
				options = append(options, name+"="+given)
			}
		}
		switch key := asked["key"]; asked["op"] {
		case "connect":
			seconds, _ := strconv.ParseFloat(asked["timeout"], 64)
			c = &kvd.Client{Address: asked["address"], Timeout: time.Duration(seconds * float64(time.Second))}
			c.User, c.Password = asked["user"], asked["password"]
			if ca, err := os.ReadFile(asked["ca"]); err == nil {
				c.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
				c.TLS.RootCAs.AppendCertsFromPEM(ca)
				if own, err := tls.LoadX509KeyPair(asked["cert"], asked["key"]); err == nil {
					c.TLS.Certificates = []tls.Certificate{own}
				}
			}
			say("ok", "", nil)
		case "get":
			got, err := c.Get(key)
			say("ok64", got, err) // JSON of bytes is base64, of nil null
		case "set":
			revision, err := c.Set(key, value)
			say("ok", revision, err)
		case "put":
			revision, err := c.Put(key, value, options...)
			say("ok", revision, err)
		case "del":
			revision, err := c.Del(key, options...)
			say("ok", map[bool]any{false: revision}[revision == ""], err)
		case "follow":
			c.Position, c.Patterns = asked["position"], asked["patterns"]
			follow(c)
		}
	}
}
