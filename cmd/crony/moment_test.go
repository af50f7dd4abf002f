package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"crony"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestParseTime(t *testing.T) {
	now := time.Date(2027, 3, 1, 23, 30, 0, 500, time.UTC) // the next day already, in Shanghai and Berlin
	for _, tt := range []struct{ text, zone, want string }{
		{"2027-01-31T18:00:00Z", "Europe/Berlin", "2027-01-31T18:00:00Z"},
		{"2027-01-31T18:00:00.25+08:00", "UTC", "2027-01-31T10:00:00.25Z"},
		{"2027-01-31 18:00:07", "UTC", "2027-01-31T18:00:07Z"},
		{"2027-01-31 18:00", "Asia/Shanghai", "2027-01-31T10:00:00Z"},
		{"2027-01-31", "UTC", "2027-01-31T00:00:00Z"},
		{"2027-01-31", "Asia/Shanghai", "2027-01-30T16:00:00Z"},
		{"18:00", "UTC", "2027-03-01T18:00:00Z"},
		{"18:00:59", "Asia/Shanghai", "2027-03-02T10:00:59Z"},
		{"00:15", "Europe/Berlin", "2027-03-01T23:15:00Z"},
		{"-24h", "Europe/Berlin", "2027-02-28T23:30:00.0000005Z"},
		{"-1w2d3h4m5s", "UTC", "2027-02-20T20:25:55.0000005Z"},
		{"-0s", "UTC", "2027-03-01T23:30:00.0000005Z"},

		// Around changes of the clock.
		{"2027-03-28 01:59:59", "Europe/Berlin", "2027-03-28T00:59:59Z"},
		{"2027-03-28 02:30", "Europe/Berlin", "2027-03-28T01:00:00Z"}, // left out: the end of the gap
		{"2027-03-28 03:00", "Europe/Berlin", "2027-03-28T01:00:00Z"},
		{"2027-03-28 12:00", "Europe/Berlin", "2027-03-28T10:00:00Z"},
		{"2027-10-31 02:00", "Europe/Berlin", "2027-10-31T00:00:00Z"}, // twice: the first
		{"2027-10-31 02:59:59", "Europe/Berlin", "2027-10-31T00:59:59Z"},
		{"2027-10-31 03:00", "Europe/Berlin", "2027-10-31T02:00:00Z"},
		{"2027-03-28 02:30", "UTC", "2027-03-28T02:30:00Z"},
		{"2019-09-08", "America/Santiago", "2019-09-08T04:00:00Z"}, // a day without a midnight
		{"2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00Z"},     // a day that was not
		{"2011-12-31", "Pacific/Apia", "2011-12-30T10:00:00Z"},
	} {
		got, err := parseTime("at", tt.text, now, zone(t, tt.zone))
		if err != nil || got.Format(time.RFC3339Nano) != tt.want {
			t.Errorf("%q in %s: got %s, %v, want %s", tt.text, tt.zone, got.Format(time.RFC3339Nano), err, tt.want)
		}
	}
}

func TestParseTimeRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "-", "now", "yesterday", "tomorrow", "24h", "+24h", "--24h", "-24", "-1y", "- 24h",
		"2027", "2027-1-31", "2027-01-31 ", " 2027-01-31", "2027-02-29", "2027-13-01", "31.01.2027", "2027/01/31", "20270131",
		"2:30", "02:3", "02:30:0", "24:00", "02:60", "02:30:60", "02:30:00.5", "2:30 pm", "02:30 ", "0230",
		"2027-01-31T18:00", "2027-01-31T18:00:00", "2027-01-31 18", "2027-01-31 18:00:00.5", "2027-01-31  18:00",
		"2027-01-31 18:00Z", "2027-01-31 18:00 +0100", "2027-01-31 2:30", "1801483200", "@1801483200",
		"0000-01-01", "0001-01-01T00:00:00Z", "0001-01-01", "9999-12-31T23:59:59-01:00", "-2030y", "12027-01-31",
	} {
		got, err := parseTime("at", text, noon, time.UTC)
		e, ok := errors.AsType[*crony.Error](err)
		if !ok || e.Code != crony.Invalid || !strings.HasPrefix(e.Message, "--at ") || e.Hint == "" || !got.IsZero() {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
}

// FuzzParseTime holds that what is taken for a time can be sent to a server and is meant so: on a clock without changes it shows
// what was written, and on another it is off by no more than the change.
func FuzzParseTime(f *testing.F) {
	for _, text := range []string{"2027-01-31T18:00:00Z", "2027-01-31 18:00:07", "2027-01-31 18:00", "2027-01-31", "18:00", "18:00:01",
		"-24h", "-1w2d", "2027-03-28 02:30", "2027-10-31 02:30", "9999-12-31", "0001-01-01", "-", "2:30", "2027-01-31T24:00:00+24:00"} {
		f.Add(text)
	}
	berlin := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseTime("at", text, noon, time.UTC)
		if err != nil {
			if !got.IsZero() {
				t.Errorf("%q: %s and %v", text, got, err)
			}
			return
		}
		sent := got.Format(time.RFC3339Nano)
		if back, err := time.Parse(time.RFC3339Nano, sent); err != nil || !back.Equal(got) || got.Location() != time.UTC {
			t.Errorf("%q: %s is read as %s, %v", text, sent, back, err)
		}
		switch {
		case strings.HasPrefix(text, "-"), strings.Contains(text, "T"):
			return
		case !strings.Contains(got.Format(time.DateTime), text):
			t.Errorf("%q is taken for %s", text, sent)
		}
		there, err := parseTime("at", text, noon, berlin)
		if err != nil {
			return // it is beyond the years there
		}
		if off := got.Sub(there); off < 0 || off > 3*time.Hour { // as in the summer of 1945
			t.Errorf("%q in Berlin: %s, and in UTC %s", text, there, got)
		}
	})
}

func TestTimeFlags(t *testing.T) {
	c := &cli{now: func() time.Time { return noon }}
	s := span{from: "-2h", to: "18:00", tz: "Asia/Shanghai"}
	from, to, err := s.read(c)
	if err != nil || !from.Equal(noon.Add(-2*time.Hour)) || !to.Equal(noon.Add(-2*time.Hour)) {
		t.Errorf("got %s, %s, %v", from, to, err)
	}
	if from, to, err = (&span{}).read(c); err != nil || !from.IsZero() || !to.IsZero() {
		t.Errorf("nothing given: got %s, %s, %v", from, to, err)
	}
	for want, s := range map[string]span{
		"--from is later than --to": {from: "12:00:01", to: "12:00"},
		`--from "x" is not a time`:  {from: "x"},
		`--to "x" is not a time`:    {to: "x"},
		`--tz: "Mars/Olympus" is`:   {tz: "Mars/Olympus"},
		`--tz: "Local" is`:          {from: "12:00", tz: "Local"},
	} {
		if _, _, err := s.read(c); crony.CodeOf(err) != crony.Invalid || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: got %v", s, err)
		}
	}
}
