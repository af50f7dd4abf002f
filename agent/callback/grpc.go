package callback

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	grpccreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/methods"
)

// channel is the connections to a target.
type channel struct{ *grpc.ClientConn }

const (
	maxMessage  = 16 << 20        // bytes of a response
	channelIdle = 5 * time.Minute // after which its connections are closed
	roundRobin  = `{"loadBalancingConfig": [{"round_robin": {}}]}`
)

// good says whether to go on with what connections there are. After a failure gRPC waits for up to two minutes before it tries
// again, and calls fail meanwhile: whoever calls next would be told of how it was then.
func (c *channel) good() bool {
	state := c.GetState()
	return state != connectivity.TransientFailure && state != connectivity.Shutdown
}

func (c *Caller) channel(g *crony.GRPC) (*pooled[*channel], error) {
	creds, err := readTLS(g.TLS)
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if g.TLS != nil {
		transport = grpccreds.NewTLS(creds.config)
	}
	dial := c.dialer()
	fresh := func() (*channel, func(), error) {
		conn, err := grpc.NewClient("dns:///"+strings.TrimPrefix(g.Target, "dns:///"),
			grpc.WithTransportCredentials(transport), grpc.WithNoProxy(), grpc.WithUserAgent("crony"),
			grpc.WithDisableServiceConfig(), grpc.WithDefaultServiceConfig(roundRobin), grpc.WithDisableRetry(),
			grpc.WithIdleTimeout(channelIdle), grpc.WithMaxHeaderListSize(maxHeader),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return dial.DialContext(ctx, "tcp", address)
			}))
		if err != nil {
			return nil, nil, fmt.Errorf("prepare the call: %w", err)
		}
		return &channel{conn}, func() { conn.Close() }, nil //nolint:errcheck // it only says that it was closed before
	}
	type key struct {
		target    string
		encrypted bool
		sum       any
	}
	return c.grpcs.take(key{g.Target, g.TLS != nil, creds.sum}, (*channel).good, fresh)
}

func (c *Caller) callGRPC(ctx context.Context, call *Call, stdout, stderr io.Writer) Outcome {
	began := time.Now()
	conn, err := c.channel(call.grpc)
	if err != nil {
		return Outcome{Failure: err.Error()}
	}
	defer c.grpcs.give(conn)
	given := metadata.New(call.grpc.Metadata)
	told := given.Copy()
	for name, value := range call.told {
		told.Set(name, value)
	}
	out, response := call.invoke(metadata.NewOutgoingContext(ctx, given), metadata.NewOutgoingContext(ctx, told), conn.thing)
	if len(response) > 0 {
		if out.Accepted {
			stdout = stderr // from here on stdout is what the callee logs
		}
		veiled := call.veil(stdout)
		veiled.Write(append(response, '\n')) //nolint:errcheck // what becomes of it is the writer's affair
		veiled.flush()
	}
	fmt.Fprintf(stderr, "%s %s: %s; whole %s\n", call.grpc.Method, call.Host(), out.Status, short(time.Since(began)))
	return out
}

// invoke calls the method. What is asked of the target before that, about the method, does not tell of the run.
func (call *Call) invoke(plain, telling context.Context, conn *channel) (Outcome, []byte) {
	m, err := call.method(plain, conn)
	if err != nil {
		return call.failed("ask what "+call.grpc.Method+" takes", err), nil
	}
	if m.Streams() {
		return Outcome{Failure: "not supported yet: methods that stream, as " + call.grpc.Method}, nil
	}
	request, err := m.Request(call.grpc.Request)
	if err != nil {
		return Outcome{Failure: fmt.Sprintf("its request is not the message of %s: %v", call.grpc.Method, err)}, nil
	}
	response := m.Response()
	if err := conn.Invoke(telling, "/"+call.grpc.Method, request, response); err != nil {
		return call.failed("", err), nil
	}
	out := Outcome{Status: name(codes.OK), Accepted: call.async}
	text, err := m.JSON(response)
	if err != nil && !call.async {
		out.Failure = "it answered OK, and the response can't be shown: " + err.Error()
	}
	return out, text
}

func (call *Call) method(ctx context.Context, conn *channel) (*methods.Method, error) {
	if call.grpc.DescriptorSet != "" {
		return methods.Read(call.grpc.DescriptorSet, call.grpc.Method)
	}
	return reflected(ctx, conn, call.grpc.Method)
}

// failed says why a call failed. The status of an error that the target did not send is what gRPC says of it.
func (call *Call) failed(doing string, err error) Outcome {
	s, is := status.FromError(err)
	if !is {
		return Outcome{Failure: strings.TrimPrefix(doing+": "+err.Error(), ": ")}
	}
	message := s.Message()
	if strings.Contains(message, errLinkLocal.Error()) {
		message = errLinkLocal.Error()
	}
	out := Outcome{Status: name(s.Code())}
	out.Failure = call.quiet(strings.TrimPrefix(doing+": "+out.Status+": "+message, ": "))
	out.Failure = strings.TrimSuffix(out.Failure, ": ")
	return out
}

// name returns a code as gRPC's documents write it: DEADLINE_EXCEEDED.
func name(code codes.Code) string {
	for text, of := range codeNames() {
		if of == code {
			return text
		}
	}
	return fmt.Sprintf("CODE %d", code)
}

func codeNames() map[string]codes.Code {
	return map[string]codes.Code{"OK": codes.OK, "CANCELLED": codes.Canceled, "UNKNOWN": codes.Unknown,
		"INVALID_ARGUMENT": codes.InvalidArgument, "DEADLINE_EXCEEDED": codes.DeadlineExceeded, "NOT_FOUND": codes.NotFound,
		"ALREADY_EXISTS": codes.AlreadyExists, "PERMISSION_DENIED": codes.PermissionDenied,
		"RESOURCE_EXHAUSTED": codes.ResourceExhausted, "FAILED_PRECONDITION": codes.FailedPrecondition, "ABORTED": codes.Aborted,
		"OUT_OF_RANGE": codes.OutOfRange, "UNIMPLEMENTED": codes.Unimplemented, "INTERNAL": codes.Internal,
		"UNAVAILABLE": codes.Unavailable, "DATA_LOSS": codes.DataLoss, "UNAUTHENTICATED": codes.Unauthenticated}
}
