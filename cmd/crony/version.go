package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"crony/internal/version"
)

// versions is what `crony version` knows.
type versions struct {
	Client      clientVersion  `json:"client"`
	Server      *serverVersion `json:"server,omitempty"`
	ServerError string         `json:"server_error,omitempty"` // why Server is missing, if it was asked for
}

type clientVersion struct {
	version.Info
	UI string `json:"ui,omitempty"` // built or absent: whether the web app is part of this binary
}

type serverVersion struct {
	Version string `json:"version"`
	ID      string `json:"id"`
	Address string `json:"address"`
}

// serverPatience bounds the wait for a server that is asked for nothing but its version.
const serverPatience = 5 * time.Second

func (c *cli) versionCmd(ui string) *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of the server",
		Long:  "Version prints what this program was built from and, if it can be reached, the server's version.",
		Args:  cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			v := versions{Client: clientVersion{Info: version.Read(), UI: ui}}
			if !clientOnly {
				server, err := c.serverVersion(ctx)
				if v.Server = server; err != nil {
					v.ServerError = err.Error()
				}
			}
			if c.format != asTable {
				return c.document(v)
			}
			return c.versionSheet(&v)
		}),
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only this program's; call no server")
	return cmd
}

func (c *cli) serverVersion(ctx context.Context) (*serverVersion, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	server, err := client.Server(ctx)
	if err != nil {
		return nil, err
	}
	return &serverVersion{Version: server.Version, ID: server.ID, Address: client.Address()}, nil
}

func (c *cli) versionSheet(v *versions) error {
	s := newSheet(c.stdout)
	client := v.Client.String()
	if v.Client.UI != "" {
		client += " ui=" + v.Client.UI
	}
	s.line("Client", client)
	if v.Server != nil {
		s.line("Server", v.Server.Version+" at "+v.Server.Address)
	}
	s.line("Server", v.ServerError)
	return s.flush()
}
