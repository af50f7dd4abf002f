// Package methods finds a gRPC method in descriptors, and turns JSON into its request and its response into JSON.
//
// The one thing to know: descriptors come from strangers, in a manifest or from whom is called. What can't be understood of
// them is an error in plain words.
package methods

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Method is a method whose messages are known.
type Method struct {
	desc  protoreflect.MethodDescriptor
	types *dynamicpb.Types // for what an Any holds
}

// Read finds a method, package.Service/Method, in a FileDescriptorSet in base64.
func Read(set, method string) (*Method, error) {
	data, err := base64.StdEncoding.DecodeString(set)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &files); err != nil {
		return nil, errors.New("it is no FileDescriptorSet")
	}
	return Find(&files, method)
}

// Find finds a method, package.Service/Method, in a set that holds all imports.
func Find(set *descriptorpb.FileDescriptorSet, method string) (*Method, error) {
	service, name, _ := strings.Cut(method, "/")
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("the descriptors can't be used: %w", err)
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if errors.Is(err, protoregistry.NotFound) {
		return nil, fmt.Errorf("there is no service %s", service)
	}
	if err != nil {
		return nil, err
	}
	s, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no service", service)
	}
	desc := s.Methods().ByName(protoreflect.Name(name))
	if desc == nil {
		return nil, fmt.Errorf("the service %s has no method %s", service, name)
	}
	return &Method{desc: desc, types: dynamicpb.NewTypes(files)}, nil
}

// Streams says whether the method takes or gives more than one message.
func (m *Method) Streams() bool { return m.desc.IsStreamingClient() || m.desc.IsStreamingServer() }

// Request returns the method's message of what JSON says; of nothing, an empty one.
func (m *Method) Request(data []byte) (proto.Message, error) {
	msg := dynamicpb.NewMessage(m.desc.Input())
	if len(bytes.TrimSpace(data)) == 0 {
		return msg, nil
	}
	if err := (protojson.UnmarshalOptions{Resolver: m.types}).Unmarshal(data, msg); err != nil {
		return nil, errors.New(plain(err))
	}
	return msg, nil
}

// plain returns what protojson says without its prefix, and without the space in it that is of another kind from build to build.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
}

// Response returns an empty message for what the method gives.
func (m *Method) Response() proto.Message { return dynamicpb.NewMessage(m.desc.Output()) }

// JSON returns a response as JSON of one line.
func (m *Method) JSON(response proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{Resolver: m.types}.Marshal(response)
	if err != nil {
		return nil, errors.New(plain(err))
	}
	var line bytes.Buffer
	if err := json.Compact(&line, data); err != nil {
		return nil, err
	}
	return line.Bytes(), nil
}
