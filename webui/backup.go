package webui

import (
	"context"
	"io"

	"github.com/gofiber/fiber/v2"

	"crony/webui/api"
)

// GetBackup answers with an archive of all that the cluster keeps, as it is made. That may take hours: a request's timeout
// does not hold for it, only each write's own.
func (r rest) GetBackup(_ context.Context, req api.GetBackupRequestObject) (api.GetBackupResponseObject, error) {
	return archive{r, deref(req.Params.Recipient)}, nil
}

// archive is an answer that is made while it is sent.
type archive struct {
	rest       rest
	recipients []string
}

// VisitGetBackupResponse begins the archive.
func (a archive) VisitGetBackupResponse(c *fiber.Ctx) error {
	if c.Method() != fiber.MethodHead {
		body, err := a.rest.body(c.UserContext(), func(ctx context.Context, w io.Writer) error {
			return a.rest.opts.Backup(ctx, w, a.recipients)
		})
		if err != nil {
			return err
		}
		c.Context().SetBodyStream(body, -1)
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEOctetStream)
	name := "crony-" + a.rest.opts.Now().UTC().Format("20060102T150405Z") + ".backup"
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="`+name+`"`)
	return nil
}
