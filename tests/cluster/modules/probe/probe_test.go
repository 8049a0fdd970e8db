package main

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Written out again from the specification: the program's own would agree with itself.
const sig = "\r\n\r\n\x00\r\nQUIT\n"

func TestProxiedClient(t *testing.T) {
	ip4 := "\xcb\x00\x71\x0a\xcb\x00\x71\x01\x30\x39\x00\x19"
	ip6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07" + strings.Repeat("\x00", 15) + "\x01\x30\x39\x00\x19"
	for name, one := range map[string]struct {
		sent, client string
	}{
		"TCP over IPv4":                   {sig + "\x21\x11\x00\x0c" + ip4, "203.0.113.10:12345"},
		"TCP over IPv6":                   {sig + "\x21\x21\x00\x24" + ip6, "[2001:db8::7]:12345"},
		"fields behind the addresses":     {sig + "\x21\x11\x00\x10" + ip4 + "\x04\x00\x01x", "203.0.113.10:12345"},
		"a health check":                  {sig + "\x20\x00\x00\x00", "LOCAL"},
		"a health check with addresses":   {sig + "\x20\x11\x00\x0c" + ip4, "LOCAL"},
		"version 1":                       {"PROXY TCP4 203.0.113.10 203.0.113.1 12345 25\r\n", ""},
		"an unknown command":              {sig + "\x2f\x11\x00\x0c" + ip4, ""},
		"a family without addresses":      {sig + "\x21\x00\x00\x00", ""},
		"UDP":                             {sig + "\x21\x12\x00\x0c" + ip4, ""},
		"addresses shorter than a family": {sig + "\x21\x21\x00\x0c" + ip4, ""},
		"cut in the addresses":            {sig + "\x21\x11\x00\x0c" + ip4[:5], ""},
		"cut in the fixed part":           {sig + "\x21", ""},
		"nothing":                         {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			whole := one.client != ""
			sent := one.sent
			if whole {
				sent += "EHLO"
			}
			reader := strings.NewReader(sent)
			// One octet at a time: a header may come in pieces.
			client, err := proxiedClient(iotest.OneByteReader(reader))
			if client != one.client || (err == nil) != whole {
				t.Fatalf("got %q, %v", client, err)
			}
			if !whole {
				return
			}
			if rest, _ := io.ReadAll(reader); string(rest) != "EHLO" {
				t.Errorf("left %q of what comes after the header", rest)
			}
		})
	}
}
