package main

import (
	"context"
	"log/slog"

	"crony/agent"
)

const longRun = `Run is the agent's work. With an interrupt it ends, and its runs go on, unless the configuration's drain says otherwise;
the next one takes them up. Another configuration or program takes a restart.`

// runOn runs the agent. A process can't become another one on Windows.
func runOn(ctx context.Context, a *agent.Agent, _ string, _ *slog.Logger) error { return a.Run(ctx) }
