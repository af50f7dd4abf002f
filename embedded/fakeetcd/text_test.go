package fakeetcd_test

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The client's names for the answers, as messages.
type (
	pbRange  = pb.RangeResponse
	pbPut    = pb.PutResponse
	pbDelete = pb.DeleteRangeResponse
	pbTxn    = pb.TxnResponse
)

// normal takes the base from every revision in a message, and the member's ids out of its headers.
func normal(m protoreflect.Message, base int64) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch name := f.Name(); {
		case name == "header": // a header in a nested answer is etcd's own business
			m.Clear(f)
		case name == "create_revision" || name == "mod_revision":
			m.Set(f, protoreflect.ValueOfInt64(v.Int()-base))
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			for i := range v.List().Len() {
				normal(v.List().Get(i).Message(), base)
			}
		case f.Kind() == protoreflect.MessageKind:
			normal(v.Message(), base)
		}
		return true
	})
}
