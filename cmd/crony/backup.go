package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) backupCmd() *cobra.Command {
	return noun("backup", "Make backups of the cluster, and check them", "", c.backupCreateCmd(), c.backupVerifyCmd())
}

// backupCreation is what to put where.
type backupCreation struct {
	wholeFile
	recipients []string
}

func (c *cli) backupCreateCmd() *cobra.Command {
	var b backupCreation
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Write all that the cluster keeps into a file",
		Long: `Create has a server make a backup: one archive of the definitions, the run log, and whom the cluster trusts. It is
sealed, and opened by the recovery key that was printed when the cluster was made; with --recipient, by others instead.

The backup is written to FILE.partial, which gets its name when it is whole and on the disk. What is there already is only
replaced with --force. To write it elsewhere, FILE is "-", which is the standard output; it is no backup unless the exit code is
0.`,
		Example: "  crony backup create crony-20270301.backup\n" +
			"  set -o pipefail; crony backup create - | ssh store 'cat >part' && ssh store mv part crony.backup",
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			b.file = args[0]
			return c.backupCreate(ctx, b)
		}),
	}
	cmd.Flags().StringArrayVar(&b.recipients, "recipient", nil,
		"an age `RECIPIENT` (age1...) that can open it, in place of the cluster's own; repeatable")
	cmd.Flags().BoolVarP(&b.force, "force", "f", false, "replace what is there")
	return cmd
}

const toStdout = "-"

// createdBackup is what was written.
type createdBackup struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

func (c *cli) backupCreate(ctx context.Context, b backupCreation) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if b.file == toStdout {
		if err := c.tableOnly("a backup on the standard output"); err != nil {
			return err
		}
		if isTerminal(c.stdout) {
			return crony.Errorf(crony.Invalid, "a backup is nothing to look at").WithHint("name a file, or pipe it on")
		}
		_, err := c.receiveBackup(ctx, client, c.stdout, b.recipients)
		return err
	}
	var size int64
	err = b.write(func(w io.Writer) (err error) {
		size, err = c.receiveBackup(ctx, client, w, b.recipients)
		return err
	})
	if err != nil {
		return err
	}
	return list(c, []column[createdBackup]{
		{"FILE", func(b createdBackup) string { return b.File }},
		{"SIZE", func(b createdBackup) string { return bytesText(b.Bytes) }},
	}, each([]createdBackup{{b.file, size}}))
}

// receiveBackup writes a backup to w as the server sends it, and tells a person how far it has come.
func (c *cli) receiveBackup(ctx context.Context, client *sdk.Client, w io.Writer, recipients []string) (int64, error) {
	const every = 250 * time.Millisecond
	defer c.progress("")
	c.progress("waiting for the server's backup")
	var size int64
	var told time.Time
	err := client.Backup(ctx, writerFunc(func(p []byte) (int, error) {
		n, err := w.Write(p)
		size += int64(n)
		if time.Since(told) >= every {
			told = time.Now()
			c.progress("receiving a backup: " + bytesText(size))
		}
		return n, err
	}), recipients)
	return size, err
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
