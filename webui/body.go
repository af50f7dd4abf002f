package webui

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"crony"
	"crony/internal/strict"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
)

// bodies stands before the generated handlers of the operations with a body: they would turn what is wrong with a body into
// one line of text, and take a form or XML for JSON.
type bodies struct {
	api.ServerInterface
	rest rest
}

// CreateSession slows down whoever guesses.
func (b bodies) CreateSession(c *fiber.Ctx) error {
	var body api.SignIn
	if err := readJSON(c, &body); err != nil {
		return err
	}
	return b.rest.logins.slow(c, "sign in", func() error {
		answer, err := b.rest.CreateSession(c.UserContext(), api.CreateSessionRequestObject{Body: &body})
		if err != nil {
			return err
		}
		return answer.VisitCreateSessionResponse(c)
	})
}

// ApplyManifest takes a manifest as YAML or JSON.
func (b bodies) ApplyManifest(c *fiber.Ctx, params api.ApplyManifestParams) error {
	if err := media(c, "application/yaml", "application/json"); err != nil {
		return err
	}
	return b.ServerInterface.ApplyManifest(c, params)
}

// PutJob decodes the job together with the check of its values, so that each fault has its line.
func (b bodies) PutJob(c *fiber.Ctx, name string, params api.PutJobParams) error {
	if err := media(c, "application/json"); err != nil {
		return err
	}
	job, err := crony.DecodeJob(c.Request().Body())
	if err != nil {
		return err
	}
	answer, err := b.rest.PutJob(c.UserContext(), api.PutJobRequestObject{Name: name, Params: params, Body: &job})
	if err != nil {
		return err
	}
	return answer.VisitPutJobResponse(c)
}

// readJSON reads a body that is JSON strictly into v.
func readJSON(c *fiber.Ctx, v any) error {
	if err := media(c, "application/json"); err != nil {
		return err
	}
	return decodeStrictly(c.Request().Body(), v)
}

// media refuses a body of another type than one of types, or one that is compressed: it would have to be read whole to know
// how large it is.
func media(c *fiber.Ctx, types ...string) error {
	given, _, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	encoding := c.Get(fiber.HeaderContentEncoding)
	if err != nil || !slices.Contains(types, given) || encoding != "" && encoding != "identity" {
		return withStatus(http.StatusUnsupportedMediaType, crony.Errorf(crony.Invalid, "a body of this type is not read here").
			WithHint("send it uncompressed, with Content-Type: %s", strings.Join(types, " or ")))
	}
	return nil
}

// decodeStrictly is the decoder of every JSON body; the error lists every fault.
func decodeStrictly(data []byte, v any) error {
	_, faults := strict.Decode(data, v)
	return invalid(faults...)
}

// invalid makes an error of faults, nil of none.
func invalid(faults ...crony.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &crony.Error{Code: crony.Invalid, Message: "the input is not valid", Faults: faults}
}
