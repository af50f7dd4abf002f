// Command answerer is what jobs of the tests on hosts call: answerer ADDRESS CA DURATION. It accepts each call, goes on for a
// time, in which it tells how far it is, and answers with the run's own id.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"crony/sdk/callee"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "answerer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want ADDRESS, CA and DURATION, have %q", args)
	}
	pem, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	lasts, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	trust.RootCAs.AppendCertsFromPEM(pem)
	service, err := callee.New(callee.Options{TLS: trust, AtOnce: 10_000, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	const parts = 4
	work := func(ctx context.Context, run *callee.Run) (any, error) {
		for n := 1; n <= parts; n++ {
			select {
			case <-time.After(lasts / parts):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			fmt.Fprintf(run.Log(), "part %d\n", n)
			run.Progress(100*n/parts, "going on")
		}
		return map[string]string{"run": run.ID}, nil
	}
	server := &http.Server{Addr: args[0], Handler: service.Handler(work), ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}
