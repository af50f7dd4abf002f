// Command witness is what the jobs of the tests on hosts run: witness FILE DURATION. It adds a line of JSON to the file when it
// starts, goes on for a time, and adds another when it ends: which run it is, on which host, and when, by the machine's clock.
//
// The one thing to know: a line is one write to a file that is only added to, so that lines of many processes do not mix, and
// what is in the file has happened. A signal that asks it to end is told in the last line; if it is killed, there is none.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// line is one of the lines. Whoever reads them has the same in its own words.
type line struct {
	Kind  string    `json:"kind"` // start or end
	Job   string    `json:"job"`
	Run   string    `json:"run"`
	Due   string    `json:"due"`
	Agent string    `json:"agent"` // the host's address
	Epoch int64     `json:"epoch"`
	Wall  time.Time `json:"wall"`
	Since int64     `json:"since"` // ns since the machine was started
	PID   int       `json:"pid"`
	How   string    `json:"how,omitempty"` // of an end: the signal that asked for it
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want FILE and DURATION, have %q", args)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	l := line{Kind: "start", Job: os.Getenv("CRONY_JOB"), Run: os.Getenv("CRONY_RUN_ID"), Due: os.Getenv("CRONY_SCHEDULED_AT"),
		PID: os.Getpid()}
	lasts, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	if l.Epoch, err = strconv.ParseInt(os.Getenv("CRONY_EPOCH"), 10, 64); err != nil {
		return err
	}
	file, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if l.Agent, err = address(); err != nil {
		return err
	}
	if err := l.write(file); err != nil {
		return err
	}
	l.Kind = "end"
	select {
	case s := <-asked:
		l.How = s.String()
	case <-time.After(lasts):
	}
	if err := l.write(file); err != nil {
		return err
	}
	return file.Close()
}

// write stamps the line with the time, and writes it.
func (l *line) write(file *os.File) error {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return err
	}
	l.Wall, l.Since = time.Now(), since.Nano()
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	return err
}

// address is the host's first address that others can reach.
func address() (string, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range list {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String(), nil
		}
	}
	return "", fmt.Errorf("the host has no address among %v", list)
}
