package webui

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"crony"

	"github.com/gofiber/fiber/v2"
)

// assets serves the web app. What its build gave a name by content, under /assets, is kept by browsers for good; the page
// itself is never kept, since it carries a nonce of its own each time. Every path that names no file is the page: the app
// has its own routes.
type assets struct {
	files fs.FS  // the app's, with .br and .gz siblings
	page  []byte // with placeholders for the nonce
	built bool
}

const (
	appDir           = "app"
	indexFile        = appDir + "/index.html"
	placeholderFile  = "placeholder.html"
	noncePlaceholder = "__CSP_NONCE__"
)

func newAssets(dir fs.FS) (*assets, error) {
	page, err := fs.ReadFile(dir, indexFile)
	built := err == nil
	if !built {
		page, err = fs.ReadFile(dir, placeholderFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the web app's page: %w", err)
	}
	files, err := fs.Sub(dir, appDir)
	if err != nil {
		return nil, fmt.Errorf("find the web app: %w", err)
	}
	return &assets{files: files, page: page, built: built}, nil
}

// serve stands after all routes. What lies under the API's path, and what is no reading, goes on to be refused.
func (a *assets) serve(c *fiber.Ctx) error {
	name := strings.TrimPrefix(c.Path(), "/")
	switch {
	case name == "api" || strings.HasPrefix(name, "api/"):
		return c.Next()
	case c.Method() != fiber.MethodGet && c.Method() != fiber.MethodHead:
		return onlyReading(c)
	}
	if found, err := a.sendFile(c, name); found || err != nil {
		return err
	}
	if strings.HasPrefix(name, "assets/") || path.Ext(name) != "" && !strings.Contains(name, "/") {
		return crony.Errorf(crony.NotFound, "there is no such file")
	}
	return a.sendPage(c)
}

// onlyReading refuses a method; the framework knows what the other routes take, but not that the app takes reading.
func onlyReading(c *fiber.Ctx) error {
	if err := c.Next(); errors.Is(err, fiber.ErrMethodNotAllowed) {
		return err
	}
	c.Set(fiber.HeaderAllow, "GET, HEAD")
	return fiber.ErrMethodNotAllowed
}

// sendFile answers with a file of the app, in the best encoding that the client takes and the build made.
func (a *assets) sendFile(c *fiber.Ctx, name string) (found bool, err error) {
	if name == "index.html" || hidden(name) || !isFile(a.files, name) {
		return false, nil
	}
	lasting := "public, max-age=300"
	if strings.HasPrefix(name, "assets/") {
		lasting = "public, max-age=31536000, immutable"
	}
	c.Set(fiber.HeaderCacheControl, lasting)
	c.Set(fiber.HeaderContentType, mediaType(name))
	c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
	for _, e := range []struct{ name, ext string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if accepts(c.Get(fiber.HeaderAcceptEncoding), e.name) && isFile(a.files, name+e.ext) {
			c.Set(fiber.HeaderContentEncoding, e.name)
			name += e.ext
			break
		}
	}
	file, err := a.files.Open(name)
	if err != nil {
		return false, fmt.Errorf("open asset: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("open asset: %w", err)
	}
	return true, c.SendStream(file, int(info.Size())) // which closes it
}

// hidden names what the build leaves behind: its stamp, and the encoded forms, which are reached by their plain name.
func hidden(name string) bool {
	return strings.HasPrefix(path.Base(name), ".") || strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz")
}

func isFile(files fs.FS, name string) bool {
	info, err := fs.Stat(files, name)
	return err == nil && info.Mode().IsRegular()
}

// sendPage answers with the app's page. Its policy lets no script run but the app's own, and no style but those that carry
// the nonce: the kit that the app is built with adds style elements.
func (a *assets) sendPage(c *fiber.Ctx) error {
	var random [16]byte
	rand.Read(random[:])
	nonce := base64.RawURLEncoding.EncodeToString(random[:])
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return c.Send(bytes.ReplaceAll(a.page, []byte(noncePlaceholder), []byte(nonce)))
}

// accepts says whether an Accept-Encoding names an encoding without refusing it (RFC 9110, section 12.5.3).
func accepts(header, encoding string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, weight, weighted := strings.Cut(strings.TrimSpace(item), ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return !weighted || err == nil && q > 0
	}
	return false
}

// mediaType knows the types that the build makes; the host's own table would differ from host to host.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return fiber.MIMETextHTMLCharsetUTF8
	case ".svg":
		return "image/svg+xml"
	case ".json", ".map":
		return fiber.MIMEApplicationJSON
	case ".webmanifest":
		return "application/manifest+json"
	case ".png":
		return "image/png"
	case ".ico":
		return "image/x-icon"
	case ".woff2":
		return "font/woff2"
	case ".txt":
		return fiber.MIMETextPlainCharsetUTF8
	default:
		return fiber.MIMEOctetStream
	}
}
