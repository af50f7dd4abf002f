package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"crony"
)

// Run is the life of a server that a configuration describes, until ctx is done.
func Run(ctx context.Context, c Config, log *slog.Logger) (err error) {
	if err := checkServerDir(c.Dir); err != nil { // before a port is opened
		return err
	}
	if trial, err := isTrial(c.Dir); err != nil {
		return err
	} else if trial {
		return crony.Errorf(crony.Conflict, "%s is the data of crony dev", c.Dir).
			WithHint("`crony cluster init` makes it the first server of a cluster, with all that is in it")
	}
	people, err := net.Listen("tcp", c.People.Listen)
	if err != nil {
		return unheard("people.listen", c.People.Listen, err)
	}
	agents, err := net.Listen("tcp", c.Agents.Listen)
	if err != nil {
		return errors.Join(unheard("agents.listen", c.Agents.Listen, err), people.Close())
	}
	server, err := Open(ctx, Options{
		Dir: c.Dir, Name: c.Name, People: people, PeopleURL: c.PeopleURL(), CertFile: c.People.CertFile, KeyFile: c.People.KeyFile,
		Agents: agents, AgentsAddress: c.Agents.Advertise, PeerListen: c.Peers.Listen, PeerAddress: c.Peers.Advertise,
		ClientListen: c.Etcd.ClientListen, Quota: c.Etcd.Quota,
		RunsAge: c.RunLog.Keep.Std(), RunsSize: c.RunLog.Size, Grace: c.Placement.Grace.Std(),
		Stay: c.Placement.Failover != nil && !*c.Placement.Failover, PublicMetrics: c.Metrics.Public, Log: log})
	if err != nil {
		return err
	}
	log.Info("the server is ready", "url", server.opts.PeopleURL, "id", server.ID, "cluster", server.Cluster)
	err = server.Wait(ctx)
	return errors.Join(err, server.Close(context.WithoutCancel(ctx)))
}

// PeopleURL is the URL by which people reach the server.
func (c *Config) PeopleURL() string { return "https://" + c.People.Advertise }
