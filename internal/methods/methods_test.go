package methods

import (
	"strings"
	"testing"
)

// index describes idx.v1.Index, with the methods Build and Watch, of which the second streams.
const index = "CqIBCgdpLnByb3RvEgZpZHgudjEiPgoBQhIMCgRmdWxsGAEgASgIEg4KBnNoYXJkcxgCIAMoBRINCgVyYXRpbxgDIAEoARIMCgRuYW1lGAQgASgJMkcKBUluZGV4Eh0KBUJ1aWxkEgkuaWR4LnYxLkIaCS5pZHgudjEuQhIfCgVXYXRjaBIJLmlkeC52MS5CGgkuaWR4LnYxLkIwAWIGcHJvdG8z"

func TestMethods(t *testing.T) {
	m, err := Read(index, "idx.v1.Index/Build")
	if err != nil || m.Streams() {
		t.Fatal(err)
	}
	for request, want := range map[string]string{"": "{}", " ": "{}", "{}": "{}", `{"full": true, "shards": [1, 2], "name": null}`: `{"full":true,"shards":[1,2]}`} {
		msg, err := m.Request([]byte(request))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.JSON(msg); string(got) != want || err != nil {
			t.Errorf("%s: %s, %v", request, got, err)
		}
	}
	for _, request := range []string{"[]", "7", "{", `{"full": 7}`, `{"fool": true}`} {
		if _, err := m.Request([]byte(request)); err == nil || strings.Contains(err.Error(), "proto:") {
			t.Errorf("%s: %v", request, err)
		}
	}
	if m, err := Read(index, "idx.v1.Index/Watch"); err != nil || !m.Streams() {
		t.Error(err)
	}
	for method, want := range map[string]string{"idx.v1.Index/None": "has no method None", "idx.v1.None/Build": "there is no service", "idx.v1.B/x": "is no service", "": "there is no service", "/": "there is no service"} {
		if _, err := Read(index, method); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func FuzzMethod(f *testing.F) {
	f.Add(index, "idx.v1.Index/Build", `{"full": true}`)
	f.Add("", "a.B/C", "{}")
	f.Fuzz(func(t *testing.T, set, method, request string) {
		m, err := Read(set, method)
		if err != nil {
			return
		}
		if msg, err := m.Request([]byte(request)); err == nil {
			if _, err := m.JSON(msg); err != nil {
				t.Errorf("what was read can't be said: %v", err)
			}
		}
	})
}
