package webui

import (
	"context"

	"crony"
	"crony/webui/api"
)

// ListScripts returns all scripts.
func (r rest) ListScripts(ctx context.Context, _ api.ListScriptsRequestObject) (api.ListScriptsResponseObject, error) {
	scripts, err := r.opts.Scripts.ListScripts(ctx)
	if err != nil {
		return nil, err
	}
	items := make([]crony.ScriptStatus, len(scripts)) // never null
	for i, s := range scripts {
		items[i] = named(s)
	}
	return api.ListScripts200JSONResponse{Items: items}, nil
}

// GetScript returns one script.
func (r rest) GetScript(ctx context.Context, req api.GetScriptRequestObject) (api.GetScriptResponseObject, error) {
	script, err := r.opts.Scripts.Script(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return api.GetScript200JSONResponse(named(script)), nil
}

// DeleteScript removes a script that no job names.
func (r rest) DeleteScript(ctx context.Context, req api.DeleteScriptRequestObject) (api.DeleteScriptResponseObject, error) {
	if err := r.opts.Scripts.DeleteScript(ctx, req.Name); err != nil {
		return nil, err
	}
	return api.DeleteScript204Response{}, nil
}

// named is a script whose list of jobs is one, even if there are none.
func named(s crony.ScriptStatus) crony.ScriptStatus {
	s.Jobs = append([]string{}, s.Jobs...)
	return s
}
