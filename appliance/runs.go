package appliance

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/runlog"
)

// keepRuns looks after the server's run log.
func (s *Server) keepRuns(ctx context.Context) error {
	return s.Runs.Keep(ctx, runlog.Policy{
		Age: cmp.Or(s.opts.RunsAge, defaultRunsAge.Std()), Size: int64(s.opts.RunsSize), Jobs: s.Store.Retentions,
	})
}

// runsTrouble says what is wrong with the server's run log, in plain words; "" if nothing is.
func (s *Server) runsTrouble() string {
	space, aside := s.Runs.Space(), s.Runs.SetAside()
	switch {
	case space.Full:
		return "the disk of its run log is full: what runs write is not kept"
	case space.Refusal:
		return fmt.Sprintf("the disk of its run log is %.0f%% full: what runs write is not kept", 100*space.Used)
	case space.Alert:
		return fmt.Sprintf("the disk of its run log is %.0f%% full", 100*space.Used)
	case len(aside) > 0:
		last := aside[len(aside)-1]
		return fmt.Sprintf("the run log of %s was set aside as %s: %s", last.Day, last.Path, last.Found)
	}
	return ""
}

// runMetrics are the figures of the server's run log.
func (s *Server) runMetrics() []prometheus.Collector {
	gauge := func(name, help string, value func(runlog.Space) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(s.Runs.Space()) })
	}
	return []prometheus.Collector{
		gauge("crony_runlog_disk_used_ratio", "How much of the run log's disk is used, by whomsoever.",
			func(p runlog.Space) float64 { return p.Used }),
		gauge("crony_runlog_size_bytes", "What the run log takes of its disk.", func(p runlog.Space) float64 { return float64(p.Log) }),
		gauge("crony_runlog_output_refused", "1 while what runs write is not kept for want of room.",
			func(p runlog.Space) float64 { return truth(p.Refusal || p.Full) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "crony_runlog_output_given_up_bytes_total",
			Help: "What runs wrote and was not kept for want of room."}, func() float64 { return float64(s.Runs.Space().GivenUp) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "crony_runlog_files_set_aside_total",
			Help: "Files of the run log that were damaged, or of a newer crony."},
			func() float64 { return float64(s.Runs.SetAsideTotal()) }),
	}
}

// The defaults of the run log.
const (
	defaultRunsAge = crony.Duration(90 * 24 * time.Hour)
	minRunsAge     = crony.Duration(24 * time.Hour)
	minRunsSize    = 64 * crony.MiB
)
