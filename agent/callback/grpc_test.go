package callback

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"crony"
)

const unary = "grpc.testing.TestService/UnaryCall"

// service answers UnaryCall with the payload that it is asked for, of as many bytes, and with what it was told.
type service struct {
	grpc_testing.UnimplementedTestServiceServer

	calls atomic.Int64
	mu    sync.Mutex
	told  metadata.MD
	due   time.Duration // until the call's deadline; 0: it has none
}

func (s *service) UnaryCall(ctx context.Context, req *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	s.calls.Add(1)
	told, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	s.told, s.due = told, 0
	if end, ok := ctx.Deadline(); ok {
		s.due = time.Until(end)
	}
	s.mu.Unlock()
	if st := req.GetResponseStatus(); st.GetCode() != 0 {
		return nil, status.Error(codes.Code(st.GetCode()), st.GetMessage())
	}
	if req.GetFillUsername() { // waits for its end
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &grpc_testing.SimpleResponse{Username: strings.Join(told.Get("crony-token"), ""), Hostname: string(req.GetPayload().GetBody()),
		Payload: &grpc_testing.Payload{Body: make([]byte, req.GetResponseSize())}}, nil
}

// heard returns what the last call was told, and how long it was to take.
func (s *service) heard() (metadata.MD, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told, s.due
}

// serveGRPC starts a server, and returns its address.
func serveGRPC(t *testing.T, s *service, reflect func(*grpc.Server), address string, opts ...grpc.ServerOption) (string, *grpc.Server) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(opts...)
	grpc_testing.RegisterTestServiceServer(server, s)
	reflect(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return l.Addr().String(), server
}

func both(s *grpc.Server) { reflection.Register(s) }

func none(*grpc.Server) {}

func (r *rig) rpc(target, request string, change ...func(*crony.GRPC)) Outcome {
	r.Helper()
	g := &crony.GRPC{Target: target, Method: unary, Request: json.RawMessage(request)}
	for _, c := range change {
		c(g)
	}
	return r.call(crony.Job{GRPC: g})
}

func TestGRPC(t *testing.T) {
	r, s := newRig(t), &service{}
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	target, _ := serveGRPC(t, s, both, "127.0.0.1:0")
	tenant := func(g *crony.GRPC) { g.Metadata = map[string]string{"tenant": "42"} }
	r.expect(r.rpc("dns:///"+target, `{"payload": {"body": "aGVsbG8="}}`, tenant), "OK", "")
	if want := `{"payload":{},"hostname":"hello"}` + "\n"; r.stdout.String() != want {
		t.Errorf("%q, want %q", r.stdout.String(), want)
	}
	if text := r.stderr.String(); !strings.HasPrefix(text, unary+" "+target+": OK; whole ") {
		t.Errorf("stderr: %s", text)
	}
	told, due := s.heard()
	for name, want := range map[string]string{"crony-job": "job", "crony-run-id": "01JFAKE0000000000000000000", "crony-attempt": "2", "crony-epoch": "7",
		"crony-scheduled-at": "2027-01-01T12:00:00Z", "tenant": "42", "crony-token": ""} {
		if got := strings.Join(told.Get(name), ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if due != 0 {
		t.Errorf("a deadline in %s", due)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	r.ctx = func() context.Context { return ctx }
	r.expect(r.rpc(target, `{"fillUsername": true}`), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED: ")
	if _, due := s.heard(); due <= 0 || due > 300*time.Millisecond {
		t.Errorf("a deadline in %s", due)
	}
	r.ctx = t.Context
	for code, want := range map[codes.Code]string{codes.Unavailable: "UNAVAILABLE", codes.Canceled: "CANCELLED", codes.DataLoss: "DATA_LOSS", 99: "CODE 99"} {
		data, _ := json.Marshal(map[string]any{"responseStatus": map[string]any{"code": code, "message": "no room"}})
		r.expect(r.rpc(target, string(data)), want, want+": no room")
	}
	r.expect(r.rpc(target, `{"none": 1}`), "", "its request is not the message of "+unary)
	r.expect(r.rpc(target, ``, func(g *crony.GRPC) { g.Method = "grpc.testing.TestService/FullDuplexCall" }), "", "not supported yet: methods that stream")
	r.expect(r.rpc(target, ``, func(g *crony.GRPC) { g.Method = "grpc.testing.TestService/Nothing" }), "", "has no method Nothing")
	r.expect(r.rpc(target, ``, func(g *crony.GRPC) { g.Method = "no.Service/Nothing" }), "", "it says of the service no.Service: ")
	r.expect(r.rpc(target, `{"responseSize": 20000000}`), "RESOURCE_EXHAUSTED", "larger than max")
	before := s.calls.Load()
	r.expect(r.rpc(target, ``, func(g *crony.GRPC) { g.Method = "grpc.testing.TestService/EmptyCall" }), "UNIMPLEMENTED", "not implemented")
	if s.calls.Load() != before || r.stdout.Len() > 0 {
		t.Error("another method was called")
	}
}

func TestGRPCAsync(t *testing.T) {
	r, s := newRig(t), &service{}
	target, _ := serveGRPC(t, s, both, "127.0.0.1:0")
	async := func(g *crony.GRPC) { g.Async = true }
	if out := r.rpc(target, `{"payload": {}}`, async); !out.Accepted || out.Failure != "" || out.Status != "OK" {
		t.Errorf("%+v", out)
	}
	if !strings.Contains(r.stderr.String(), `"username":"…"`) || r.stdout.Len() > 0 {
		t.Errorf("output: %s\n%s", r.stdout.String(), r.stderr.String())
	}
	told, _ := s.heard()
	if got := told.Get("crony-servers"); len(got) != 1 || got[0] != "https://s1:8470,https://s2:8470" || told.Get("crony-timeout")[0] != "90" {
		t.Errorf("%v", told)
	}
	r.expect(r.rpc(target, `{"responseStatus": {"code": 8}}`, async), "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED")
}

// TestChannels has calls go on over one connection, find a server that is back at once, and take turns among several.
func TestChannels(t *testing.T) {
	r, s := newRig(t), &service{}
	target, server := serveGRPC(t, s, both, "127.0.0.1:0")
	for range 3 {
		r.expect(r.rpc(target, ""), "OK", "")
	}
	if n := len(r.caller.grpcs.things); n != 1 {
		t.Errorf("%d channels", n)
	}
	server.Stop()
	r.expect(r.rpc(target, ""), "UNAVAILABLE", "UNAVAILABLE: ") // it may hear of the end only now
	r.expect(r.rpc(target, ""), "UNAVAILABLE", "connection refused")
	serveGRPC(t, s, both, target)
	r.expect(r.rpc(target, ""), "OK", "")
	r.expect(r.rpc("no-such-host.invalid:1", ""), "UNAVAILABLE", "UNAVAILABLE: ")
	r.expect(r.rpc("169.254.169.254:80", ""), "UNAVAILABLE", errLinkLocal.Error())
	at := raw(t, func(conn net.Conn) { conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	out := r.rpc(strings.TrimPrefix(at, "http://"), "")
	if out.Status != "UNAVAILABLE" && out.Status != "DEADLINE_EXCEEDED" {
		t.Errorf("of what is no gRPC: %+v", out)
	}
}

func TestGRPCOverTLS(t *testing.T) {
	r, s, ca := newRig(t), &service{}, newAuthority(t)
	cert, key := ca.issue("index.internal")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	target, _ := serveGRPC(t, s, both, "127.0.0.1:0", grpc.Creds(grpccreds.NewServerTLSFromCert(&pair)))
	file := file(t, "ca.pem", pemOf(ca.cert.Raw))
	r.expect(r.rpc(target, "", func(g *crony.GRPC) { g.TLS = &crony.TLS{CAFile: file, ServerName: "index.internal"} }), "OK", "")
	r.expect(r.rpc(target, "", func(g *crony.GRPC) { g.TLS = &crony.TLS{CAFile: file} }), "UNAVAILABLE", "certificate")
	r.expect(r.rpc(target, "", func(g *crony.GRPC) { g.TLS = &crony.TLS{} }), "UNAVAILABLE", "certificate")
	r.expect(r.rpc(target, "", func(g *crony.GRPC) { g.TLS = &crony.TLS{CAFile: "/no"} }), "", "read whom to trust")
	r.expect(r.rpc(target, ""), "UNAVAILABLE", "UNAVAILABLE: ")
}

// setOf returns the descriptor set of a service, in base64.
func setOf(t *testing.T, file protoreflect.FileDescriptor) string {
	t.Helper()
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(file)
	data, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

func TestReflection(t *testing.T) {
	set := setOf(t, grpc_testing.File_grpc_testing_test_proto)
	described := func(g *crony.GRPC) { g.DescriptorSet = set }
	t.Run("none", func(t *testing.T) {
		r := newRig(t)
		target, _ := serveGRPC(t, &service{}, none, "127.0.0.1:0")
		r.expect(r.rpc(target, ""), "", "it has no server reflection: give the job a descriptor_set")
		r.expect(r.rpc(target, `{"payload": {"body": "aGk="}}`, described), "OK", "")
		if r.stdout.String() != `{"payload":{},"hostname":"hi"}`+"\n" {
			t.Errorf("%q", r.stdout.String())
		}
	})
	t.Run("the older", func(t *testing.T) {
		r := newRig(t)
		target, _ := serveGRPC(t, &service{}, func(s *grpc.Server) {
			reflection.Register(alphaOnly{s})
		}, "127.0.0.1:0")
		r.expect(r.rpc(target, ""), "OK", "")
		r.expect(r.rpc(target, "", func(g *crony.GRPC) { g.Method = "no.Service/X" }), "", "it says of the service no.Service")
	})
	for name, c := range map[string]struct {
		answer func(n int, ask *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error)
		want   string
	}{
		"one that lies": {func(int, *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			return describing([]byte("junk")), nil
		}, "in bytes that are no descriptor"},
		"one that has no end": {func(n int, _ *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			name := "f" + strings.Repeat("x", n)
			return describing(encoded(t, &descriptorpb.FileDescriptorProto{Name: &name, Dependency: []string{name + "x"}})), nil
		}, "in more than "},
		"one that is large": {func(int, *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			return describing(make([]byte, maxFileBytes/2), make([]byte, maxFileBytes)), nil
		}, ""},
		"one that says another": {func(_ int, _ *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			name := "other"
			return describing(encoded(t, &descriptorpb.FileDescriptorProto{Name: &name, Dependency: []string{"asked"}})), nil
		}, "it says nothing of asked"},
		"one that says nothing": {func(int, *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			return &reflectionv1.ServerReflectionResponse{}, nil
		}, "there is no service grpc.testing.TestService"},
		"one that imports itself": {func(int, *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			name := "a"
			return describing(encoded(t, &descriptorpb.FileDescriptorProto{Name: &name, Dependency: []string{"a"}})), nil
		}, "the descriptors can't be used"},
		"one that hangs up": {func(int, *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			return nil, status.Error(codes.PermissionDenied, "not for you")
		}, "PERMISSION_DENIED: not for you"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			target, _ := serveGRPC(t, &service{}, func(s *grpc.Server) {
				reflectionv1.RegisterServerReflectionServer(s, &liar{answer: c.answer})
			}, "127.0.0.1:0")
			out := r.rpc(target, "")
			if out.Failure == "" || !strings.Contains(out.Failure, c.want) {
				t.Errorf("%+v, want %q", out, c.want)
			}
		})
	}
}

// alphaOnly drops reflection of v1.
type alphaOnly struct{ *grpc.Server }

func (a alphaOnly) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if desc.ServiceName != "grpc.reflection.v1.ServerReflection" {
		a.Server.RegisterService(desc, impl)
	}
}

// liar answers reflection as a test says.
type liar struct {
	reflectionv1.UnimplementedServerReflectionServer
	answer func(int, *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error)
}

func (l *liar) ServerReflectionInfo(stream reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	for n := 0; ; n++ {
		ask, err := stream.Recv()
		if err != nil {
			return err
		}
		answer, err := l.answer(n, ask)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return errors.New("the stream is over")
		}
	}
}

func describing(files ...[]byte) *reflectionv1.ServerReflectionResponse {
	return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_FileDescriptorResponse{
		FileDescriptorResponse: &reflectionv1.FileDescriptorResponse{FileDescriptorProto: files}}}
}

func encoded(t *testing.T, msg proto.Message) []byte {
	data, err := proto.Marshal(msg)
	if err != nil {
		t.Error(err)
	}
	return data
}
