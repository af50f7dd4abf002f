package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"crony"
	"crony/internal/durable"
	"crony/sdk"
)

func (c *cli) backupCmd() *cobra.Command {
	return noun("backup", "Make backups of the cluster, and check them", "", c.backupCreateCmd(), c.backupVerifyCmd())
}

// backupCreation is what to put where.
type backupCreation struct {
	file       string
	recipients []string
	force      bool
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
	if err := b.free(); err != nil {
		return err
	}
	size, err := c.writeBackup(ctx, client, b)
	if err != nil {
		return err
	}
	return list(c, []column[createdBackup]{
		{"FILE", func(b createdBackup) string { return b.File }},
		{"SIZE", func(b createdBackup) string { return bytesText(b.Bytes) }},
	}, each([]createdBackup{{b.file, size}}))
}

// free is an error if the file is there and is not to be replaced.
func (b *backupCreation) free() error {
	info, err := os.Lstat(b.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
	case info.IsDir():
		return crony.Errorf(crony.Invalid, "%s is a directory", b.file).WithHint("name a file in it")
	case !b.force:
		return crony.Errorf(crony.Conflict, "%s is there already", b.file).WithHint("name another file, or replace it with --force")
	}
	return nil
}

// writeBackup writes the file by way of a partial one, of which nothing stays if anything goes wrong.
func (c *cli) writeBackup(ctx context.Context, client *sdk.Client, b backupCreation) (int64, error) {
	f, err := openPartial(b.file + ".partial")
	if err != nil {
		return 0, err
	}
	size, err := c.receiveBackup(ctx, client, f, b.recipients)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = b.free() // somebody else's may have come meanwhile
	}
	if err == nil {
		err = os.Rename(f.Name(), b.file)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	return size, errors.Join(f.Close(), durable.SyncDir(filepath.Dir(b.file)))
}

// openPartial opens a file to write, empty and locked. One that was left behind is nobody's; one that is locked is another
// process's.
func openPartial(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			busy := &crony.Error{Code: crony.Conflict, Message: name + " is being written by another process", Err: err,
				Hint: "wait for it, or name another file"}
			return nil, errors.Join(busy, f.Close())
		}
		still, err := isStill(f)
		if err == nil && still {
			err = f.Truncate(0)
		}
		if err == nil && still {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("open the partial backup: %w", err)
		}
	}
}

// isStill says whether an open file has its name still: another process may have finished it, and so renamed it, before it
// was locked.
func isStill(f *os.File) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, named), err
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
