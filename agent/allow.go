package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crony"
)

// Allow bounds what runs may be, whatever the servers say. An empty list bounds nothing, with one exception: who lists commands
// and no interpreters means no command lines and no scripts, and who lists interpreters and no commands means nothing else.
type Allow struct {
	Users        []string `json:"users"`        // names; a job without a user runs as the agent's own
	Commands     []string `json:"commands"`     // absolute programs that argv may name, or patterns as /opt/report/*
	Interpreters []string `json:"interpreters"` // likewise, of command and script
	Paths        []string `json:"paths"`        // absolute directories in which, or below which, runs may begin (cwd)
}

func (a *Allow) faults() (faults []crony.Fault) {
	for _, l := range []struct {
		key     string
		list    []string
		pattern bool
	}{{"commands", a.Commands, true}, {"interpreters", a.Interpreters, true}, {"paths", a.Paths, false}} {
		for i, entry := range l.list {
			path := fmt.Sprintf("allow.%s[%d]", l.key, i)
			_, err := filepath.Match(entry, "")
			switch {
			case !filepath.IsAbs(entry) || filepath.Clean(entry) != entry:
				faults = append(faults, crony.Fault{Path: path, Message: fmt.Sprintf("%q is no absolute path", entry),
					Hint: "as /opt/report, without . and .. and a / at the end"})
			case l.pattern && err != nil:
				faults = append(faults, crony.Fault{Path: path, Message: fmt.Sprintf("%q is no pattern", entry), Hint: "as /opt/report/*"})
			}
		}
	}
	for i, name := range a.Users {
		if name == "" {
			faults = append(faults, crony.Fault{Path: fmt.Sprintf("allow.users[%d]", i), Message: "must be a user's name"})
		}
	}
	return faults
}

const separator = string(filepath.Separator)

// refusal says why a command may not be run; nil if it may.
func (a *Allow) refusal(c *command, interpreted bool) error {
	if len(a.Users) > 0 && !slices.Contains(a.Users, c.account.name) {
		return notAllowed("run as "+c.account.name, "users")
	}
	list, key := a.Commands, "commands"
	if interpreted {
		list, key = a.Interpreters, "interpreters"
	}
	if len(a.Commands)+len(a.Interpreters) > 0 && !slices.ContainsFunc(list, func(pattern string) bool {
		ok, err := filepath.Match(pattern, c.program)
		return ok && err == nil
	}) {
		return notAllowed("run "+c.program, key)
	}
	if len(a.Paths) == 0 {
		return nil
	}
	dir, err := realDir(c.dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(a.Paths, func(path string) bool {
		return dir == path || strings.HasPrefix(dir, strings.TrimSuffix(path, separator)+separator)
	}) {
		return notAllowed("begin in "+dir, "paths")
	}
	return nil
}

func notAllowed(what, key string) error {
	return fmt.Errorf("its agent does not let jobs %s: see allow.%s in the agent's configuration", what, key)
}

// realDir returns where a path leads, whatever links there are in it; "" is the agent's own directory.
func realDir(path string) (string, error) {
	var err error
	if path == "" {
		path, err = os.Getwd()
	}
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", errors.Join(errors.New("the working directory"), err)
	}
	return path, nil
}
