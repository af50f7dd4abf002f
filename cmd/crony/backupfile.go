package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crony"
	"crony/appliance/backup"
)

const fromStdin = "-"

// backupVerifyCmd is a verb of `crony backup`. It calls no server: where an archive is needed most, there is none.
func (c *cli) backupVerifyCmd() *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "verify FILE --key-file FILE",
		Short: "Check that a backup is whole, and print what is in it",
		Long: `Verify opens a backup with the recovery key and reads it to its end, as a restore would, but keeps nothing. It
checks every byte, the checksum of each file, etcd's own of the keyspace, and that nothing is missing. It calls no server.

The recovery key is read from a file, or from the standard input if that is named "-". It was printed when the cluster was
made. Likewise the backup is read from the standard input if FILE is "-".

The exit code is 0 if the backup can be restored, 1 if the key is not its own or it could not be read, and 2 if it is cut
short, damaged, or no backup.`,
		Example: "  crony backup verify crony-20270301.backup --key-file recovery.key\n" +
			"  ssh store cat crony-20270301.backup | crony backup verify - --key-file recovery.key -o json",
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			m, err := c.verifyBackup(ctx, args[0], keyFile)
			if err != nil {
				return err
			}
			if c.format != asTable {
				return c.document(m)
			}
			return c.backupSheet(&m)
		}),
	}
	cmd.Flags().StringVar(&keyFile, "key-file", "", "the `FILE` that holds the recovery key")
	// It fails for a flag that is not defined, which every test of the command would show.
	_ = cmd.MarkFlagRequired("key-file")
	return cmd
}

// verifyBackup verifies the backup in a file with the key in another.
func (c *cli) verifyBackup(ctx context.Context, file, keyFile string) (backup.Manifest, error) {
	if file == fromStdin && keyFile == fromStdin {
		return backup.Manifest{}, crony.Errorf(crony.Invalid, "the backup and its key can't both come from the standard input").
			WithHint("put the key into a file that only you can read")
	}
	key, err := c.recoveryKey(keyFile)
	if err != nil {
		return backup.Manifest{}, err
	}
	in, name := c.stdin, "stdin"
	if file != fromStdin {
		f, err := os.Open(file)
		if err != nil {
			return backup.Manifest{}, &crony.Error{Code: crony.NotFound, Message: err.Error(), Err: err}
		}
		defer f.Close()
		in, name = f, file
	}
	defer c.progress("")
	m, err := backup.Verify(ctx, &counted{Reader: in, say: func(n int64) {
		c.progress(fmt.Sprintf("reading %s: %s", name, bytesText(n)))
	}}, key)
	if err != nil {
		return backup.Manifest{}, inFile(name, err)
	}
	return m, nil
}

// recoveryKey reads the key that opens backups.
func (c *cli) recoveryKey(file string) (string, error) {
	var text []byte
	var err error
	if file == fromStdin {
		text, err = readDocument("stdin", c.stdin)
	} else {
		text, err = readFile(file)
	}
	if err != nil {
		return "", err
	}
	key, err := backup.ParseKey(string(text))
	if err != nil {
		return "", inFile(file, err)
	}
	return key, nil
}

// inFile says which file an error is about.
func inFile(file string, err error) error {
	e, ok := errors.AsType[*crony.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", file, err)
	}
	named := *e
	named.Message = file + ": " + e.Message
	return &named
}

// counted tells now and then how much was read.
type counted struct {
	io.Reader
	say  func(n int64)
	n    int64
	said int64
}

// Read implements [io.Reader].
func (r *counted) Read(p []byte) (int, error) {
	const step = 16 << 20
	n, err := r.Reader.Read(p)
	if r.n += int64(n); r.n >= r.said+step {
		r.said = r.n
		r.say(r.n)
	}
	return n, err
}

// backupSheet prints what is in a backup, for a person.
func (c *cli) backupSheet(m *backup.Manifest) error {
	s := newSheet(c.stdout)
	s.line("Backup", "whole")
	s.line("Cluster", m.Cluster)
	s.line("Made by", fmt.Sprintf("%s (%s), crony %s", m.ServerName, m.Server, m.Version))
	s.line("Made", instant(c.now(), m.CreatedAt))
	s.line("Revision", strconv.FormatInt(m.Revision, 10))
	s.line("Run log", runLogDays(m))
	s.line("Size", bytesText(int64(m.Size()))+" when restored")
	if err := s.flush(); err != nil {
		return err
	}
	if err := c.write([]byte("\n")); err != nil {
		return err
	}
	return list(c, []column[backup.File]{
		{"FILE", func(f backup.File) string { return f.Name }},
		{"SIZE", func(f backup.File) string { return bytesText(f.Size) }},
		{"SHA-256", func(f backup.File) string { return f.SHA256 }},
	}, each(m.Files))
}

// runLogDays says of which days there are runs: "3 days, 2027-02-27 to 2027-03-01".
func runLogDays(m *backup.Manifest) string {
	var days []string
	for _, f := range m.Files {
		if name, ok := strings.CutPrefix(f.Name, backup.RunsDir); ok {
			days = append(days, strings.TrimSuffix(strings.TrimPrefix(name, "runs-"), path.Ext(name)))
		}
	}
	switch len(days) {
	case 0:
		return "empty"
	case 1:
		return "1 day, " + days[0]
	}
	return fmt.Sprintf("%d days, %s to %s", len(days), days[0], days[len(days)-1])
}
