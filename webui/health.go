package webui

import (
	"context"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Check is one condition for being ready to serve.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not, in plain words
}

const readyTimeout = 5 * time.Second

// livez says that requests are answered; it asks nothing of the cluster, so that a lost quorum restarts nobody.
func (s *Server) livez(c *fiber.Ctx) error {
	return c.JSON(struct {
		Live bool `json:"live"`
	}{true})
}

// readyz says whether requests can be served, and if not, why.
func (s *Server) readyz(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), readyTimeout)
	defer cancel()
	answer := struct {
		Ready  bool    `json:"ready"`
		WebApp bool    `json:"web_app"` // built into this binary
		Checks []Check `json:"checks"`
	}{true, s.assets.built, append([]Check{}, s.opts.Ready(ctx)...)}
	for _, check := range answer.Checks {
		answer.Ready = answer.Ready && check.OK
	}
	if !answer.Ready {
		c.Status(http.StatusServiceUnavailable)
	}
	return c.JSON(answer)
}
