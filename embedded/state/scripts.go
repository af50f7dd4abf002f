package state

import (
	"context"

	"crony"
)

var _ crony.Scripts = (*Store)(nil)

func scriptStatus(p preset, keepers []string) crony.ScriptStatus {
	return crony.ScriptStatus{Script: *p.Script, UpdatedAt: p.UpdatedAt, UpdatedBy: p.UpdatedBy, Jobs: keepers}
}

// Script implements [crony.Scripts].
func (s *Store) Script(_ context.Context, name string) (crony.ScriptStatus, error) {
	p, keepers := s.mirror.preset(scripts + name)
	if p.rev == 0 {
		return crony.ScriptStatus{}, noPreset(scripts + name)
	}
	return scriptStatus(p, keepers), nil
}

// ListScripts implements [crony.Scripts].
func (s *Store) ListScripts(context.Context) ([]crony.ScriptStatus, error) {
	return listPresets(s.mirror, scripts, scriptStatus), nil
}

// DeleteScript implements [crony.Scripts].
func (s *Store) DeleteScript(ctx context.Context, name string) error {
	return s.change(ctx, "delete the script "+name, func() (*txn, error) { return s.newTxn(ctx).removal(scripts + name) })
}
