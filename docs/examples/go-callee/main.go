// Command go-callee is a service that crony's jobs call, and that answers later. It counts to ten, and tells how far it is.
//
//	go run ./docs/examples/go-callee -listen 127.0.0.1:9000 -ca /etc/crony/ca.pem
//
// The job:
//
//	jobs:
//	  - name: count
//	    schedule: "@every 1m"
//	    timeout: 5m
//	    http: {method: POST, url: "http://127.0.0.1:9000/jobs/count", async: true}
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"crony/sdk/callee"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "where agents call")
	ca := flag.String("ca", "", "PEM file with the authorities of the servers' certificates; the host's own if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := net.Listen("tcp", *listen)
	if err == nil {
		log.Info("serving", "address", l.Addr().String())
		err = serve(ctx, l, *ca, log)
	}
	if err != nil {
		log.Error("service ends", "err", err)
		os.Exit(1)
	}
}

// serve answers calls until ctx is done, and then tells what is left to tell.
func serve(ctx context.Context, l net.Listener, ca string, log *slog.Logger) error {
	opts := callee.Options{Log: log}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		opts.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		if !opts.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("there is no certificate in %s", ca)
		}
	}
	service, err := callee.New(opts)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /jobs/count", service.Handler(count))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(stopping), service.Close(stopping))
}

// count is the work.
func count(ctx context.Context, run *callee.Run) (any, error) {
	const most = 10
	for n := 1; n <= most; n++ {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done(): // the run was killed, or its time is up
			return nil, context.Cause(ctx)
		}
		fmt.Fprintf(run.Log(), "counted %d\n", n)
		run.Progress(100*n/most, "counting")
	}
	return map[string]int{"counted": most}, nil
}
