package callback

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"crony"
)

// TestGRPCPeersThatMisbehave calls those who are no gRPC servers, or are no more: each call ends, and says why.
func TestGRPCPeersThatMisbehave(t *testing.T) {
	set := setOf(t, grpc_testing.File_grpc_testing_test_proto)
	described := func(g *crony.GRPC) { g.DescriptorSet = set }
	silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	for name, c := range map[string]struct {
		peer   func(net.Conn)
		status string
	}{
		"it resets": {func(conn net.Conn) {
			conn.Read(make([]byte, 1))
			conn.(*net.TCPConn).SetLinger(0)
		}, "UNAVAILABLE"},
		"it hangs up":   {func(net.Conn) {}, "UNAVAILABLE"},
		"it is no gRPC": {func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-x\r\n"); silent(conn) }, "UNAVAILABLE"},
		"it is silent":  {silent, "DEADLINE_EXCEEDED"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, change := range []func(*crony.GRPC){described, func(*crony.GRPC) {}} {
				r := newRig(t)
				if c.status == "DEADLINE_EXCEEDED" {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					r.ctx = func() context.Context { return ctx }
				}
				out := r.rpc(strings.TrimPrefix(raw(t, c.peer), "http://"), "", change)
				if out.Failure == "" || out.Accepted || out.Status != c.status {
					t.Errorf("%+v, want %s", out, c.status)
				}
				r.caller.Close() // so that the peer hears the end
			}
		})
	}
	t.Run("it is a web server", func(t *testing.T) {
		r := newRig(t)
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
		r.expect(r.rpc(strings.TrimPrefix(s.URL, "http://"), "", described), "UNAVAILABLE", "UNAVAILABLE: ")
	})
	t.Run("it breaks off", func(t *testing.T) {
		r := newRig(t)
		var server atomic.Pointer[grpc.Server]
		target, started := serveGRPC(t, &service{}, both, "127.0.0.1:0", grpc.UnaryInterceptor(
			func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
				go server.Load().Stop() // while the call is under way
				<-ctx.Done()
				return nil, ctx.Err()
			}))
		server.Store(started)
		r.expect(r.rpc(target, "", described), "UNAVAILABLE", "UNAVAILABLE: ")
	})
}
