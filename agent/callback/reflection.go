package callback

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	older "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"crony/internal/methods"
)

// What a target may say of itself.
const (
	maxFiles     = 1000
	maxFileBytes = 4 << 20 // of all of them
)

// reflected asks a target for a method, by reflection of either version.
func reflected(ctx context.Context, conn *channel, method string) (*methods.Method, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	service, _, _ := strings.Cut(method, "/")
	var files *descriptorpb.FileDescriptorSet
	ask, err := newest(ctx, conn)
	if err == nil {
		files, err = filesOf(ask, service)
	}
	if status.Code(err) == codes.Unimplemented {
		if ask, err = oldest(ctx, conn); err == nil {
			files, err = filesOf(ask, service)
		}
	}
	if status.Code(err) == codes.Unimplemented {
		return nil, errors.New("it has no server reflection: give the job a descriptor_set")
	}
	if err != nil {
		return nil, err
	}
	return methods.Find(files, method)
}

// asking asks a target for the files that hold a symbol, or that have a name.
type asking func(*reflection.ServerReflectionRequest) (*reflection.ServerReflectionResponse, error)

func newest(ctx context.Context, conn *channel) (asking, error) {
	stream, err := reflection.NewServerReflectionClient(conn).ServerReflectionInfo(ctx, grpc.WaitForReady(false))
	if err != nil {
		return nil, err
	}
	return func(ask *reflection.ServerReflectionRequest) (*reflection.ServerReflectionResponse, error) {
		if err := stream.Send(ask); err != nil {
			_, err = stream.Recv() // it says why
			return nil, err
		}
		return stream.Recv()
	}, nil
}

// oldest is newest for v1alpha, whose messages have the same form.
func oldest(ctx context.Context, conn *channel) (asking, error) {
	stream, err := older.NewServerReflectionClient(conn).ServerReflectionInfo(ctx, grpc.WaitForReady(false))
	if err != nil {
		return nil, err
	}
	return func(ask *reflection.ServerReflectionRequest) (*reflection.ServerReflectionResponse, error) {
		var old older.ServerReflectionRequest //nolint:staticcheck // servers that know no other are why it is here
		if err := recode(ask, &old); err != nil {
			return nil, err
		}
		err := stream.Send(&old)
		reply, received := stream.Recv()
		if received != nil {
			return nil, received
		}
		if err != nil {
			return nil, err
		}
		var answer reflection.ServerReflectionResponse
		return &answer, recode(reply, &answer)
	}, nil
}

func recode(from, to proto.Message) error {
	data, err := proto.Marshal(from)
	if err != nil {
		return err
	}
	return proto.Unmarshal(data, to)
}

// filesOf asks for the file of a service, and for all that it imports.
func filesOf(ask asking, service string) (*descriptorpb.FileDescriptorSet, error) {
	set, have, size := &descriptorpb.FileDescriptorSet{}, map[string]bool{}, 0
	todo := []*reflection.ServerReflectionRequest{{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: service}}}
	for asked := 0; len(todo) > 0; asked++ {
		next := todo[0]
		todo = todo[1:]
		if name := next.GetFileByFilename(); name != "" && have[name] {
			continue
		}
		if asked > maxFiles {
			return nil, fmt.Errorf("it describes itself in more than %d files", maxFiles)
		}
		reply, err := ask(next)
		if err != nil {
			return nil, err
		}
		if e := reply.GetErrorResponse(); e != nil {
			return nil, fmt.Errorf("it says of %s: %s", asFor(next), e.GetErrorMessage())
		}
		for _, data := range reply.GetFileDescriptorResponse().GetFileDescriptorProto() {
			if size += len(data); size > maxFileBytes {
				return nil, fmt.Errorf("it describes itself in more than %d bytes", maxFileBytes)
			}
			file := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(data, file); err != nil {
				return nil, errors.New("it describes itself in bytes that are no descriptor")
			}
			if have[file.GetName()] {
				continue
			}
			have[file.GetName()] = true
			set.File = append(set.File, file)
			for _, name := range file.GetDependency() {
				todo = append(todo, &reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{
					FileByFilename: name}})
			}
		}
		if name := next.GetFileByFilename(); name != "" && !have[name] {
			return nil, fmt.Errorf("it says nothing of %s", name)
		}
	}
	return set, nil
}

func asFor(ask *reflection.ServerReflectionRequest) string {
	if name := ask.GetFileByFilename(); name != "" {
		return name
	}
	return "the service " + ask.GetFileContainingSymbol()
}
