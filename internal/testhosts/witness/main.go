// Command witness is what the jobs of the tests on hosts run: witness FILE DURATION. It adds a line of JSON to the file when it
// starts, goes on for a time, and adds another when it ends: which run it is, on which host, and when, by the machine's clock.
//
// The one thing to know: a line is one write to a file that is only added to, so that lines of many processes do not mix, and
// what is in the file has happened. A signal that asks it to end is told in the last line; if it is killed, there is none.
//
// Many start at the same instant, on one machine that is the whole fleet: what one takes to start is how much later the next one
// is. So it does without the packages net and encoding/json, which are half of that.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// line is one of the lines. Whoever reads them has the same in its own words.
type line struct {
	kind  string // start or end
	job   string
	run   string
	due   string
	agent netip.Addr // the host's address
	epoch int64
	how   string // of an end: the signal that asked for it
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
	l := line{kind: "start", job: os.Getenv("CRONY_JOB"), run: os.Getenv("CRONY_RUN_ID"), due: os.Getenv("CRONY_SCHEDULED_AT")}
	lasts, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	if l.epoch, err = strconv.ParseInt(os.Getenv("CRONY_EPOCH"), 10, 64); err != nil {
		return err
	}
	file, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if l.agent, err = address(); err != nil {
		return err
	}
	if err := l.write(file); err != nil {
		return err
	}
	l.kind = "end"
	select {
	case s := <-asked:
		l.how = s.String()
	case <-time.After(lasts):
	}
	if err := l.write(file); err != nil {
		return err
	}
	return file.Close()
}

// write stamps the line with the time, by the machine's clock and since it was started, and writes it.
func (l *line) write(file *os.File) error {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return err
	}
	_, err := fmt.Fprintf(file,
		`{"kind":%q,"job":%q,"run":%q,"due":%q,"agent":%q,"epoch":%d,"wall":%q,"since":%d,"pid":%d,"how":%q}`+"\n",
		l.kind, l.job, l.run, l.due, l.agent, l.epoch, time.Now().Format(time.RFC3339Nano), since.Nano(), os.Getpid(), l.how)
	return err
}

// address is the host's own, by which others reach it.
func address() (netip.Addr, error) {
	card, err := unix.NewIfreq("eth0")
	if err != nil {
		return netip.Addr{}, err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(socket) //nolint:errcheck // nothing was written through it
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFADDR, card); err != nil {
		return netip.Addr{}, fmt.Errorf("ask for the address of eth0: %w", err)
	}
	ip, err := card.Inet4Addr()
	if err != nil {
		return netip.Addr{}, err
	}
	address, _ := netip.AddrFromSlice(ip)
	return address, nil
}
