package appliance_test

import (
	"testing"
	"time"

	"crony"
	"crony/embedded/state"
	"crony/internal/storetest"
	"crony/internal/testcluster"
)

// TestAgentsByREST: the REST client keeps the contract of the store that stands behind the server.
func TestAgentsByREST(t *testing.T) {
	storetest.Agents(t, func(t *testing.T) (crony.Agents, storetest.Hosts) {
		c := testcluster.Start(t, 0)
		return c.Client, hostsOf(t, c, c.Server().Store)
	})
}

// hostsOf are hosts whose agents connect to a store as if by its server.
func hostsOf(t *testing.T, c *testcluster.Cluster, store *state.Store) storetest.Hosts {
	here := map[string]*state.Presence{}
	return storetest.Hosts{
		Connect: func(a crony.Agent) {
			a.Server, a.Since = "s1", time.Now().UTC()
			p, err := store.RegisterAgent(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			here[a.ID] = p
		},
		Disconnect: func(id string) { here[id].Leave(t.Context()) },
		Answer: func(id string, figures crony.HostFigures) {
			feed := store.Changes(id)
			go func() {
				defer feed.Close()
				for !store.Watched(id) {
					if _, err := feed.Next(t.Context()); err != nil {
						return
					}
				}
				if err := store.PublishFigures(t.Context(), id, figures); err != nil {
					t.Error(err)
				}
			}()
		},
	}
}
