package webui

import (
	"embed"
	"io/fs"
)

// dist holds the built web app in dist/app, if it was built, and a page that stands in for it.
//
//go:embed all:dist
var dist embed.FS

// Built says whether the web app is in this binary.
func Built() bool {
	_, err := fs.Stat(dist, "dist/"+indexFile)
	return err == nil
}
