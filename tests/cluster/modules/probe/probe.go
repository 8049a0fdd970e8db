// Probe is a program for the cluster's own pods: it waits, listens, dials and looks names up, and needs no shell.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const usage = `probe pause                waits for SIGTERM
probe serve PORT [proxy]   answers every connection with a line: who connected, and this host's name;
                           after a PROXY header (version 2, required then) also whom that names
probe dial HOST PORT       connects; prints the first line, if one comes
probe lookup NAME          prints a name's addresses
probe burn SECONDS         keeps one processor busy
`

const patience = 3 * time.Second

func pause() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
}

// The header's fixed part: a signature of 12 octets, version and command, family, length (PROXY protocol, 2.2).
const (
	signature  = "\r\n\r\n\x00\r\nQUIT\n"
	fixedPart  = 16
	local      = 0x20
	proxied    = 0x21
	tcpOverIP4 = 0x11
	tcpOverIP6 = 0x21
)

// proxiedClient reads a PROXY header and gives the client's address and port, or "LOCAL" for the balancer's own.
func proxiedClient(from io.Reader) (string, error) {
	header := make([]byte, fixedPart)
	if _, err := io.ReadFull(from, header); err != nil {
		return "", fmt.Errorf("PROXY header: %w", err)
	}
	if string(header[:len(signature)]) != signature {
		return "", errors.New("no PROXY header of version 2")
	}
	rest := make([]byte, binary.BigEndian.Uint16(header[14:]))
	if _, err := io.ReadFull(from, rest); err != nil {
		return "", fmt.Errorf("PROXY header: %w", err)
	}
	command, family := header[12], header[13]
	if command == local {
		return "LOCAL", nil
	}
	size := map[byte]int{tcpOverIP4: net.IPv4len, tcpOverIP6: net.IPv6len}[family]
	// Both addresses, then both ports.
	if command != proxied || size == 0 || len(rest) < 2*size+4 {
		return "", fmt.Errorf("PROXY header: command %#x, family %#x, %d octets", command, family, len(rest))
	}
	port := binary.BigEndian.Uint16(rest[2*size:])
	return net.JoinHostPort(net.IP(rest[:size]).String(), strconv.Itoa(int(port))), nil
}

func answer(connection net.Conn, host string, behindProxy bool) {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	line := connection.RemoteAddr().String() + " " + host
	if behindProxy {
		client, err := proxiedClient(connection)
		if err != nil {
			fmt.Fprintln(os.Stderr, connection.RemoteAddr(), err)
			return
		}
		line += " " + client
	}
	fmt.Fprintln(connection, line)
}

func serve(port string, behindProxy bool) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	// With port 0 the system chooses one.
	fmt.Println("listening on", listener.Addr())
	go func() {
		pause()
		listener.Close()
	}()
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go answer(connection, host, behindProxy)
	}
}

func dial(host, port string) error {
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), patience)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetReadDeadline(time.Now().Add(patience))
	// A server that says nothing, or hangs up, was reached all the same.
	line, _ := bufio.NewReader(connection).ReadString('\n')
	fmt.Println("connected", strings.TrimSpace(line))
	return nil
}

func lookup(name string) error {
	addresses, err := net.LookupHost(name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, "\n"))
	return nil
}

func burn(seconds string) error {
	duration, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	for end := time.Now().Add(duration); time.Now().Before(end); {
	}
	return nil
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "pause":
		pause()
		return nil
	case len(arguments) == 2 && arguments[0] == "serve":
		return serve(arguments[1], false)
	case len(arguments) == 3 && arguments[0] == "serve" && arguments[2] == "proxy":
		return serve(arguments[1], true)
	case len(arguments) == 3 && arguments[0] == "dial":
		return dial(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "lookup":
		return lookup(arguments[1])
	case len(arguments) == 2 && arguments[0] == "burn":
		return burn(arguments[1])
	}
	fmt.Fprint(os.Stderr, usage)
	os.Exit(2)
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
