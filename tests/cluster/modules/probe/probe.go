// Probe is a program for the cluster's own pods: it waits, listens, dials and looks names up, and needs no shell.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `probe pause              waits for SIGTERM
probe serve PORT         answers every connection with a line that names who connected
probe dial HOST PORT     connects; prints the first line, if one comes
probe lookup NAME        prints a name's addresses
probe burn SECONDS       keeps one processor busy
`

const patience = 3 * time.Second

func pause() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
}

func serve(port string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(connection, "%s\n", connection.RemoteAddr())
			connection.Close()
		}
	}()
	pause()
	return listener.Close()
}

func dial(host, port string) error {
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), patience)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetReadDeadline(time.Now().Add(patience))
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
		return serve(arguments[1])
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
