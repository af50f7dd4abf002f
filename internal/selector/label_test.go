package selector

import (
	"strings"
	"testing"
)

func TestValidLabel(t *testing.T) {
	long := strings.Repeat("x", MaxLabel)
	for _, good := range [][2]string{{"web", ""}, {"role", "batch"}, {"Zone.a/b_c-d", "north-1"}, {"9", "1.2_3/4"}, {long, long}} {
		if err := ValidLabel(good[0], good[1]); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []struct{ key, value, says string }{
		{"", "x", "needs a key"},
		{long + "x", "", "has 64 characters"},
		{"a", long + "x", "has 64 characters"},
		{"-a", "", "letter or digit first"},
		{"a b", "", "can't be a label's key"},
		{"a=b", "", "can't be a label's key"},
		{"größe", "", "can't be a label's key"},
		{"a\n", "", "can't be a label's key"},
		{"a", "b,c", "can't be the value"},
		{"a", "b c", "can't be the value"},
		{"a", "(b)", "can't be the value"},
		{"a", "b\n", "can't be the value"},
	} {
		if err := ValidLabel(bad.key, bad.value); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%q=%q: %v; want %q", bad.key, bad.value, err, bad.says)
		}
	}
}
