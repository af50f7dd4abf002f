package appliance_test

import (
	"testing"

	"crony"
	"crony/internal/storetest"
	"crony/internal/testcluster"
)

// The REST client keeps the contracts of the stores that stand behind the server.

func TestJobsByREST(t *testing.T) {
	storetest.Jobs(t, func(t *testing.T) (crony.Jobs, storetest.Fleet) {
		c := testcluster.Start(t, 0)
		store := c.Server().Store
		return c.Client, storetest.Fleet{
			Place: func(job string) {
				if _, err := store.RegisterAgent(t.Context(), crony.Agent{ID: "a1", Name: "a1", Weight: 1}); err != nil {
					t.Fatal(err)
				}
				c.Wait(job+" to be placed", func() bool {
					status, err := c.Job(t.Context(), job)
					return err == nil && status.Assigned > 0
				})
			},
			Take: func(job string, run crony.RunID) {
				if err := store.TakeStart(t.Context(), job, run); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestCalendarsByREST(t *testing.T) {
	storetest.Calendars(t, func(t *testing.T) storetest.CalendarStore { return testcluster.Start(t, 0).Client })
}

func TestRunsByREST(t *testing.T) {
	storetest.Runs(t, func(t *testing.T) (crony.Runs, storetest.AppendRuns) {
		c := testcluster.Start(t, 0)
		return c.Client, func(facts []crony.Fact, chunks []crony.Chunk) {
			if err := c.Server().Runs.Append(t.Context(), facts, chunks); err != nil {
				t.Error(err)
			}
		}
	})
}
