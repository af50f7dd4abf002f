package schedule_test

import (
	"archive/zip"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // for hosts without zones of their own

	"crony/internal/schedule"
)

// everyZone loads each zone of the Go distribution's tz database, one that has several names by its first.
func everyZone(t *testing.T) map[string]*time.Location {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("ask for GOROOT: %v", err)
	}
	archive, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatalf("open the tz database: %v", err)
	}
	defer archive.Close()
	zones, names := map[string]*time.Location{}, map[string]bool{}
	for _, file := range archive.File {
		if file.FileInfo().IsDir() {
			continue
		}
		data := readZone(t, file)
		if names[string(data)] {
			continue
		}
		names[string(data)] = true
		zone, err := time.LoadLocationFromTZData(file.Name, data)
		if err != nil {
			t.Fatalf("load %s: %v", file.Name, err)
		}
		zones[file.Name] = zone
	}
	if len(zones) < 300 {
		t.Fatalf("the tz database has %d zones", len(zones))
	}
	return zones
}

func readZone(t *testing.T, file *zip.File) []byte {
	t.Helper()
	r, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// shifts finds where a zone's offset changed, to within the stride that it looks at.
func shifts(zone *time.Location, from, to time.Time) []int64 {
	const stride = 6 * 3600
	var found []int64
	_, last := from.In(zone).Zone()
	for u := from.Unix(); u < to.Unix(); u += stride {
		if _, offset := time.Unix(u, 0).In(zone).Zone(); offset != last {
			found, last = append(found, u), offset
		}
	}
	return found
}

// fixedTexts are held against the oracle at every shift; each is of a kind of its own.
var fixedTexts = []string{
	"0 0 * * *", "30 0 * * *", "30 1 * * *", "30 2 * * *", "15,45 0-3 * * *", "0 3 * * *", "59 23 * * *",
	"*/15 * * * *", "*/20 0-3 * * *", "5 */2 * * *", "0 * * * *", "10-50/20 1,2 * * *", "0 0 1,15,L * ?", "30 2 * * 0#2,7L,sat",
}

func TestNextAgainstOracleAtEveryShift(t *testing.T) {
	from, to := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, zone := range everyZone(t) {
		if testing.Short() && seed(name, 0)%8 != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, near := range shifts(zone, from, to) {
				if testing.Short() && seed(name, near)%8 != 0 {
					continue
				}
				atShift(t, zone, near, 60, 5)
			}
		})
	}
}

// The shifts that are worth a name, seconds looked at one by one where the clock moved by an odd number of them.
func TestNextAgainstOracleAtOddShifts(t *testing.T) {
	for _, odd := range []struct {
		zone string
		near string
		step int64
	}{
		{"Pacific/Apia", "2011-12-30T10:00:00Z", 60},        // the 30th did not exist
		{"Pacific/Fakaofo", "2011-12-30T11:00:00Z", 60},     // neither there
		{"Pacific/Kwajalein", "1993-08-21T12:00:00Z", 60},   // nor here
		{"Pacific/Kwajalein", "1969-09-30T13:00:00Z", 60},   // a day that came nearly twice
		{"America/Juneau", "1867-10-18T15:00:00Z", 1},       // a day that came twice, and odd seconds
		{"Asia/Manila", "1844-12-31T16:00:00Z", 1},          // a day lost under local mean time
		{"Africa/Monrovia", "1972-01-07T00:44:30Z", 1},      // 44 minutes and 30 seconds forward
		{"Asia/Kathmandu", "1985-12-31T18:30:00Z", 60},      // a quarter of an hour
		{"Asia/Pyongyang", "2018-05-04T15:00:00Z", 60},      // half an hour, once
		{"America/Caracas", "2016-05-01T07:00:00Z", 60},     // half an hour, once
		{"Europe/Dublin", "1971-10-31T02:00:00Z", 60},       // winter time is the summer time
		{"America/St_Johns", "1988-04-03T03:31:00Z", 60},    // two hours, at one minute past midnight
		{"America/St_Johns", "2006-10-29T02:31:00Z", 60},    // midnight comes again after a minute
		{"Antarctica/Troll", "2026-03-29T01:00:00Z", 60},    // two hours
		{"Australia/Lord_Howe", "2026-04-04T15:00:00Z", 60}, // half an hour back
		{"Australia/Lord_Howe", "2026-10-03T15:30:00Z", 60}, // and forward
		{"Africa/Cairo", "2026-04-23T22:00:00Z", 60},        // no midnight
		{"Asia/Beirut", "2026-03-28T22:00:00Z", 60},         // no midnight
		{"America/Santiago", "2026-09-06T04:00:00Z", 60},    // no midnight
		{"America/Santiago", "2026-04-05T03:00:00Z", 60},    // midnight's eve twice
		{"Africa/Casablanca", "2026-02-15T02:00:00Z", 60},   // Ramadan
		{"America/New_York", "2041-03-10T07:00:00Z", 60},    // by the rule, past the table
		{"Europe/Dublin", "2044-10-30T01:00:00Z", 60},       // by the rule, and negative
		{"America/New_York", "2026-03-08T07:00:00Z", 1},
		{"America/New_York", "2026-11-01T06:00:00Z", 1},
	} {
		t.Run(odd.zone+" "+odd.near, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(odd.zone)
			if err != nil {
				t.Fatal(err)
			}
			near, err := time.Parse(time.RFC3339, odd.near)
			if err != nil {
				t.Fatal(err)
			}
			if _, a := near.Add(-27 * time.Hour).In(zone).Zone(); !changes(zone, near, a) {
				t.Fatalf("the offset does not change near %s", near)
			}
			atShift(t, zone, near.Unix(), odd.step, 12)
		})
	}
}

func changes(zone *time.Location, near time.Time, offset int) bool {
	for h := -26; h < 27; h++ {
		if _, now := near.Add(time.Duration(h) * time.Hour).In(zone).Zone(); now != offset {
			return true
		}
	}
	return false
}

// Away from shifts it is the calendar that is tried: each is a year and more of days at random.
func TestNextAgainstOracleOverYears(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		text := fmt.Sprintf("0 0 %d %s", r.IntN(24), randomDay(r, time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC)))
		s, err := schedule.Parse(text, schedule.Options{})
		if err != nil {
			continue
		}
		from := time.Date(1990+r.IntN(60), 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		c := watch(time.UTC, from, from+3*366*86400, 3600)
		compare(t, s, c, newOracle(text).fires(c), r)
	}
}

// atShift holds schedules against the oracle in the days around a shift.
func atShift(t *testing.T, zone *time.Location, near, step int64, random int) {
	t.Helper()
	near -= near % 60
	c := watch(zone, near-36*3600, near+36*3600, step)
	r := rand.New(rand.NewPCG(seed(zone.String(), near), 1))
	texts := slices.Clone(fixedTexts)
	for range random {
		texts = append(texts, randomText(r, time.Unix(near, 0).In(zone), step))
	}
	for _, text := range texts {
		s, err := schedule.Parse(text, schedule.Options{Location: zone})
		if err != nil {
			continue // a day that never comes: TestParseRefuses is about those
		}
		compare(t, s, c, newOracle(text).fires(c), r)
		if t.Failed() {
			return
		}
	}
}

// compare holds Next against the instants that are due: from one to the next, and from anywhere.
func compare(t *testing.T, s *schedule.Schedule, c *clock, want []int64, r *rand.Rand) {
	t.Helper()
	first, end := c.at[0], c.at[len(c.at)-1]
	var got []int64
	for at := time.Unix(first-1, 0); ; {
		next := s.Next(at)
		if next.IsZero() || next.Unix() > end {
			break
		}
		if !next.After(at) {
			t.Fatalf("%s in %s: after %s comes %s", s, s.Location(), at.UTC(), next)
		}
		got, at = append(got, next.Unix()), next
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s in %s: %s", s, s.Location(), difference(s.Location(), got, want))
		return
	}
	for range 8 {
		at := time.Unix(first+r.Int64N(end-first), r.Int64N(2)*r.Int64N(1e9))
		i, found := slices.BinarySearch(want, at.Unix())
		if found {
			i++
		}
		next := s.Next(at)
		if i < len(want) && next.Unix() != want[i] || i == len(want) && !next.IsZero() && next.Unix() <= end {
			t.Errorf("%s in %s: after %s comes %s", s, s.Location(), at.In(s.Location()), next.In(s.Location()))
		}
	}
}

// difference shows the first instant that is in one list alone.
func difference(zone *time.Location, got, want []int64) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(want) || i < len(got) && got[i] < want[i]:
			return fmt.Sprintf("%s is not due", time.Unix(got[i], 0).In(zone))
		case i >= len(got) || want[i] < got[i]:
			return fmt.Sprintf("%s is due", time.Unix(want[i], 0).In(zone))
		}
	}
	return ""
}

func seed(name string, n int64) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", name, n)
	return h.Sum64()
}

// randomText makes a schedule whose times lie around those of a shift.
func randomText(r *rand.Rand, near time.Time, step int64) string {
	second := "0"
	if step == 1 {
		second = pick(r, "*", "*/7", "0", fmt.Sprint(r.IntN(60)), "10-50/10")
	}
	minute := pick(r, "*", fmt.Sprintf("*/%d", 2+r.IntN(28)), fmt.Sprint(r.IntN(60)), fmt.Sprintf("%d/10", r.IntN(40)),
		fmt.Sprintf("%d,%d", r.IntN(60), r.IntN(60)), fmt.Sprintf("%d-%d", r.IntN(30), 30+r.IntN(30)), "*/15,7", "0")
	h := near.Hour() - 3 + r.IntN(6)
	h = (h + 24) % 24
	hour := pick(r, "*", fmt.Sprintf("*/%d", 2+r.IntN(6)), fmt.Sprint(h), fmt.Sprintf("%d,%d", h, (h+1)%24), fmt.Sprintf("0-%d", h),
		fmt.Sprintf("%d-23", h), fmt.Sprintf("%d/2", min(h, 20)))
	return second + " " + minute + " " + hour + " " + randomDay(r, near)
}

// randomDay makes the three day fields, and sometimes the year.
func randomDay(r *rand.Rand, near time.Time) string {
	if r.IntN(2) == 0 {
		return "* * *"
	}
	d := near.AddDate(0, 0, r.IntN(3)-1).Day()
	dom := pick(r, "*", "?", "L", "LW", fmt.Sprintf("%dW", d), fmt.Sprintf("L-%d", 1+r.IntN(29)), fmt.Sprintf("L-%dW", 1+r.IntN(9)), fmt.Sprint(d),
		fmt.Sprintf("1,%d", d), "*/2", fmt.Sprintf("%d-31", d), fmt.Sprintf("%d/7", min(d, 20)), "1W,15W,L")
	weekday := strings.ToLower(near.Weekday().String()[:3])
	dow := pick(r, "*", "?", "7", "1-5", "5-7", "fri-sun", weekday, fmt.Sprint(int(near.Weekday())), fmt.Sprintf("%sL", weekday),
		fmt.Sprintf("%s#%d", weekday, 1+r.IntN(5)), "*/2", "0#1,7L", "2-7/2", "sun-tue")
	month := pick(r, "*", "*", fmt.Sprint(int(near.Month())), "*/2", "feb,mar,oct", "mar-nov")
	text := dom + " " + month + " " + dow
	if r.IntN(8) == 0 {
		text += " " + pick(r, "*", fmt.Sprint(near.Year()), "2020-2099/2", "2020-2037")
	}
	return text
}

func pick(r *rand.Rand, texts ...string) string { return texts[r.IntN(len(texts))] }
