package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) clusterCmd() *cobra.Command {
	return noun("cluster", "Look at the servers, and say which there are and which leads", "",
		c.clusterInitCmd(), c.clusterJoinCmd(), c.clusterStatusCmd(), c.clusterPromoteCmd(), c.clusterTransferCmd(),
		c.clusterRemoveCmd(), c.clusterRotateCmd(), c.clusterRecoverCmd())
}

func (c *cli) clusterStatusCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the servers, and whether they have a quorum",
		Long: `Status shows the cluster as the server that is called sees it: its servers, whether enough of them are up, and what
somebody should do something about. Without a quorum it shows what was last known.

BEHIND is the number of changes that a server's store has yet to take in. RUN LOG is how the server's run log stands to those of
the others: "whole"; "N behind", if others have yet to send it records of so many runs; "copying N days"; "differs", if it was
not the same as another's when the two were compared last; or "not compared" since the server started. All but the first mend
themselves. CERTIFICATE is when a server's certificate ends; it is renewed long before.

The exit code is 0 if the cluster has a quorum and a leader, and 1 if not.`,
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			status, err := client.ClusterStatus(ctx)
			if err != nil {
				return err
			}
			if err := c.showCluster(&status); err != nil {
				return err
			}
			return quorumFault(&status)
		}),
	}
}

func (c *cli) showCluster(status *crony.ClusterStatus) error {
	if c.format != asTable {
		return c.document(status)
	}
	if err := c.clusterSheet(status); err != nil {
		return err
	}
	if err := c.write([]byte("\n")); err != nil {
		return err
	}
	now := c.now()
	return list(c, []column[crony.ServerStatus]{
		{"NAME", func(s crony.ServerStatus) string { return s.Name }},
		{"STATE", func(s crony.ServerStatus) string { return string(s.State) }},
		{"LEADER", func(s crony.ServerStatus) string { return yes(s.Leader) }},
		{"VERSION", func(s crony.ServerStatus) string { return s.Version }},
		{"PEER", func(s crony.ServerStatus) string { return s.Peer }},
		{"AGENTS", func(s crony.ServerStatus) string { return ofUp(s, strconv.Itoa(s.Connected)) }},
		{"STORE", func(s crony.ServerStatus) string { return ofUp(s, bytesText(int64(s.StoreSize))) }},
		{"BEHIND", func(s crony.ServerStatus) string { return ofUp(s, strconv.FormatInt(s.Behind, 10)) }},
		{"RUN LOG", func(s crony.ServerStatus) string { return logText(status, &s) }},
		{"CERTIFICATE", func(s crony.ServerStatus) string { return ago(now, s.CertificateEnd) }},
	}, each(status.Servers))
}

// logText says how the run log of a server is. That it lacks something others know, also while it is down.
func logText(status *crony.ClusterStatus, server *crony.ServerStatus) string {
	behind, differs := 0, false
	for i := range status.Servers {
		if status.Servers[i].RunLog == nil {
			continue
		}
		for _, o := range status.Servers[i].RunLog.Others {
			if o.Server == server.ID {
				behind, differs = max(behind, o.Behind), differs || o.DifferingDays > 0
			}
		}
	}
	log := server.RunLog
	switch {
	case log != nil && log.Copying > 0:
		return fmt.Sprintf("copying %d days", log.Copying)
	case behind > 0:
		return fmt.Sprintf("%d behind", behind)
	case log == nil:
		return ""
	case !log.Whole:
		return "not compared"
	case differs:
		return "differs"
	}
	return "whole"
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return ""
}

// ofUp leaves out what is not known of a server that is down.
func ofUp(s crony.ServerStatus, text string) string {
	if s.State == crony.ServerDown {
		return ""
	}
	return text
}

// clusterSheet prints what is to be said of the cluster as a whole.
func (c *cli) clusterSheet(status *crony.ClusterStatus) error {
	s := newSheet(c.stdout)
	s.line("Cluster", status.ID)
	up, voting := votes(status)
	s.line("Quorum", fmt.Sprintf("%d of %d up, %d needed", up, voting, status.Quorum))
	leader := "none"
	if status.Leader != "" {
		leader = serverName(status, status.Leader)
	}
	s.line("Leader", leader)
	authorities := make([]string, len(status.Authorities))
	for i, a := range status.Authorities {
		authorities[i] = fmt.Sprintf("%s %s, ends %s", short(a.Fingerprint, 17), authorityState(a), ago(c.now(), a.EndsAt))
	}
	s.lines("Authority", authorities)
	var troubles []string
	for _, server := range status.Servers {
		if server.Trouble != "" {
			troubles = append(troubles, server.Name+": "+server.Trouble)
		}
	}
	s.lines("Trouble", troubles)
	s.lines("Warning", status.Warnings)
	return s.flush()
}

// votes counts the servers that vote, and those of them that are up.
func votes(status *crony.ClusterStatus) (up, voting int) {
	for i := range status.Servers {
		switch status.Servers[i].State {
		case crony.ServerUp:
			up++
			voting++
		case crony.ServerDown:
			voting++
		}
	}
	return up, voting
}

// quorumFault is the error of a cluster that decides nothing.
func quorumFault(status *crony.ClusterStatus) error {
	up, voting := votes(status)
	switch {
	case up < status.Quorum:
		return crony.Errorf(crony.Unavailable, "the cluster has no quorum: %d of %d servers are up, and %d are needed",
			up, voting, status.Quorum).WithHint("start those that are down; nothing is decided until then")
	case status.Leader == "":
		return crony.Errorf(crony.Unavailable, "no server leads").
			WithHint("an election takes about a second; look again, and at the servers' logs if it stays so")
	}
	return nil
}

func authorityState(a crony.AuthorityStatus) string {
	if a.Current {
		return "signs"
	}
	return "is still trusted"
}

// serverName returns what to call the server with an id.
func serverName(status *crony.ClusterStatus, id string) string {
	for i := range status.Servers {
		if status.Servers[i].ID == id {
			return status.Servers[i].Name
		}
	}
	return id
}

func (c *cli) clusterPromoteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "promote SERVER",
		Short: "Give a joining server its vote now",
		Long: `Promote gives a server that has joined its vote, if its store has caught up. The leader does so by itself soon after;
promote is for who can't wait, and tells what is in the way.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			return c.acted(args[0], "promoted", client.PromoteServer(ctx, args[0]))
		}),
	}
	c.completeNames(cmd, false, serverNames)
	return cmd
}

func (c *cli) clusterRemoveCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove SERVER",
		Short: "Remove a server for good",
		Long: `Remove takes a server out of the cluster for good: its vote, and its certificate's worth. A server that is up stops by
itself, and its data is of no use to the cluster any more. To bring the host back, join it anew.

It is refused if those that are left would have no quorum, and a server can't remove itself: call another.

On a terminal it asks first. Without one it does nothing unless --yes is given.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := c.confirm(ctx, "Remove the server "+args[0]+" for good?", yes); err != nil {
				return err
			}
			return c.acted(args[0], "removed", client.RemoveServer(ctx, args[0]))
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.completeNames(cmd, false, serverNames)
	return cmd
}

// acted prints what was done to something, unless it was not.
func (c *cli) acted(name, action string, err error) error {
	if err != nil {
		return err
	}
	return list(c, deletedColumns(), each([]deleted{{name, action}}))
}

func (c *cli) clusterTransferCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transfer [SERVER]",
		Short: "Make another server lead",
		Long: `Transfer hands the leadership to a server, or to any other than the one that leads now, waits until it is taken, and
prints who has it. What the leader does pauses for less than a second. Nothing else depends on which server leads.`,
		Args: cobra.MaximumNArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.clusterTransfer(ctx, strings.Join(args, ""))
		}),
	}
	c.completeNames(cmd, false, serverNames)
	return cmd
}

// transferPatience bounds the wait until the leadership that was handed on is taken.
const transferPatience = 10 * time.Second

func (c *cli) clusterTransfer(ctx context.Context, server string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	before, err := client.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	if err := client.TransferLeadership(ctx, server); err != nil {
		return err
	}
	leader, err := c.newLeader(ctx, client, func(s *crony.ServerStatus) bool {
		if server == "" {
			return s.ID != before.Leader
		}
		return s.ID == server || s.Name == server
	})
	return c.acted(leader, "leads", err)
}

// newLeader waits until a server leads that is wanted, and returns its name.
func (c *cli) newLeader(ctx context.Context, client *sdk.Client, wanted func(*crony.ServerStatus) bool) (string, error) {
	late := crony.Errorf(crony.Unavailable, "the leadership was handed on, and is not taken yet").
		WithHint("`crony cluster status` shows who leads")
	ctx, cancel := context.WithTimeoutCause(ctx, transferPatience, late)
	defer cancel()
	for {
		status, err := client.ClusterStatus(ctx)
		if err != nil && crony.CodeOf(err) != crony.Unavailable {
			return "", err
		}
		for i := range status.Servers {
			if s := &status.Servers[i]; s.ID == status.Leader && wanted(s) {
				return s.Name, nil
			}
		}
		if err := pause(ctx, c.poll); err != nil {
			return "", err
		}
	}
}
