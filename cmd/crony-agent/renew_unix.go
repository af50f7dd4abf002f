//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"crony/agent"
)

const longRun = `Run is the agent's work. With TERM or an interrupt it ends, and its runs go on, unless the configuration's drain
says otherwise; the next one takes them up. With HUP it begins anew as the same process, with the configuration and the program
that are there then, and its runs stay its own. If they are no good, it says so and goes on as it was.`

// checkTime is how long the program that is to take over may take to check the configuration.
const checkTime = 30 * time.Second

// runOn runs the agent, and with SIGHUP becomes the next one. Processes that it has started stay its children that way, so that
// how they end is known: of those of an agent that was stopped and started it is not.
func runOn(ctx context.Context, a *agent.Agent, file string, log *slog.Logger) error {
	self, err := os.Executable() // while it is still there: an upgrade puts another one in its place
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if err := try(ctx, self, file); err != nil {
				log.Error("the agent goes on as it was: what it was to begin anew with is no good", "err", err)
				continue
			}
			log.Info("the agent begins anew", "program", self)
			end(agent.ErrRenew)
		}
	}()
	if err := a.Run(ctx); err != nil {
		return err
	}
	if !errors.Is(context.Cause(ctx), agent.ErrRenew) {
		return nil
	}
	return fmt.Errorf("begin anew: %w", syscall.Exec(self, os.Args, os.Environ()))
}

// try has the program that is there now check the configuration that is.
func try(ctx context.Context, program, file string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "run", "--check", "-c", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
