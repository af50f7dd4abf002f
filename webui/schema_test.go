package webui

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

// TestSchemasAreTheTypes holds every schema that names a Go type against that type: the same keys, the same of them
// required, the same words to choose among. The generated code can't do so: it only uses the type.
func TestSchemasAreTheTypes(t *testing.T) {
	types := map[string]reflect.Type{}
	for _, v := range []any{
		crony.Fault{}, crony.Session{}, crony.Applied{}, crony.JobPage{}, crony.JobStatus{}, crony.Lock{}, crony.Assignment{},
		crony.RunPage{}, crony.RunCount{}, crony.RunState(""), crony.Run{}, crony.Attempt{}, crony.Progress{}, crony.Chunk{},
		crony.AgentStatus{}, crony.AgentTraits{}, crony.Cordon{}, crony.AgentChange{}, crony.CordonChange{}, crony.Rebalanced{},
		crony.HostFigures{}, crony.Job{}, crony.ScheduleEntry{},
		crony.ScheduleQuestion{}, crony.ScheduleAnswer{}, crony.ScheduleFire{},
		crony.CalendarUse{}, crony.Misfire{}, crony.Placement{}, crony.Retry{}, crony.Shell{}, crony.Limits{}, crony.Rlimits{}, crony.Rlimit(""), crony.HTTP{},
		crony.GRPC{}, crony.TLS{}, crony.Notify{}, crony.Retention{}, crony.Calendar{}, crony.Blackout{},
		crony.CalendarStatus{}, crony.Script{}, crony.ScriptStatus{}, crony.LedgerPage{}, crony.LedgerEntry{}, crony.Explanation{}, crony.Verification{},
		crony.LedgerFault{}, crony.ClusterStatus{}, crony.ServerStatus{}, crony.AuthorityStatus{}, crony.RotateStep(""),
		crony.RunLogStatus{}, crony.RunLogOther{},
		crony.OutputPage{}, crony.OutputHit{}, crony.RunCounts{}, crony.Durations{}, crony.DayFigures{}, crony.HourFigures{},
		crony.JobFigures{}, crony.Overview{}, crony.JoinTokenSpec{}, crony.JoinToken{}, crony.JoinRequest{}, crony.JoinAnswer{},
		crony.StartOptions{}, crony.StartRequest{}, crony.Handled{}, crony.HandleOptions{},
		crony.CalleeReport{}, crony.CalleeEvent{}, crony.ProgressFact{}, crony.CalleeLog{}, crony.CalleeResult{}, crony.CalleeAnswer{},
	} {
		types["crony."+reflect.TypeOf(v).Name()] = reflect.TypeOf(v)
	}
	types["crony.Fault"] = reflect.TypeFor[crony.Fault]()
	doc, err := openapi3.NewLoader().LoadFromData(api.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	named := 0
	for name, schema := range doc.Components.Schemas {
		goType, ok := schema.Value.Extensions["x-go-type"].(string)
		if !ok {
			continue
		}
		named++
		typ, ok := types[goType]
		if !ok {
			t.Errorf("%s: this test does not know %s", name, goType)
			continue
		}
		compareSchema(t, name, schema.Value, typ)
	}
	if named < 20 {
		t.Errorf("only %d schemas name a Go type", named)
	}
}

func compareSchema(t *testing.T, at string, schema *openapi3.Schema, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if enum, ok := reflect.Zero(typ).Interface().(interface{ Allowed() []string }); ok {
		compareWords(t, at, schema, enum.Allowed())
		return
	}
	if typ.Kind() == reflect.Slice && schema.Items != nil {
		compareSchema(t, at+"[]", schema.Items.Value, typ.Elem())
		return
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		return
	}
	fields, required := map[string]reflect.Type{}, []string{}
	jsonFields(typ, func(name string, field reflect.StructField, always bool) {
		fields[name] = field.Type
		if always {
			required = append(required, name)
		}
	})
	if diff := cmp.Diff(slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(schema.Properties))); diff != "" {
		t.Errorf("%s: keys of %s (-) and of the schema (+):\n%s", at, typ, diff)
	}
	slices.Sort(required)
	if diff := cmp.Diff(required, append([]string{}, slices.Sorted(slices.Values(schema.Required))...)); diff != "" {
		t.Errorf("%s: keys that %s always has (-) and that the schema requires (+):\n%s", at, typ, diff)
	}
	for name, property := range schema.Properties {
		if field, ok := fields[name]; ok {
			compareSchema(t, at+"."+name, property.Value, field)
		}
	}
}

func compareWords(t *testing.T, at string, schema *openapi3.Schema, allowed []string) {
	t.Helper()
	var words []string
	for _, word := range schema.Enum {
		words = append(words, word.(string))
	}
	slices.Sort(words)
	if diff := cmp.Diff(slices.Sorted(slices.Values(allowed)), words); diff != "" {
		t.Errorf("%s: words of the type (-) and of the schema (+):\n%s", at, diff)
	}
}

// jsonFields calls f for each key that encoding/json writes for a struct, and says whether it always does.
func jsonFields(typ reflect.Type, f func(name string, field reflect.StructField, always bool)) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, opts, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			jsonFields(field.Type, f)
		case name != "-" && name != "":
			f(name, field, !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero"))
		}
	}
}
