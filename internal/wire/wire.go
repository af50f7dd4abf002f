// Package wire is the protocol between agents and servers: the messages and the service of wire.proto, generated.
//
// The one thing to know: the stream may break at any moment and be opened again to any server. Each message can therefore be
// repeated without harm, and whoever waits for an answer asks again on the next stream.
package wire

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative wire.proto
