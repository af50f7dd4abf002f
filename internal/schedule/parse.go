package schedule

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// reader makes a spec of a schedule's fields.
type reader struct {
	spec *spec
	hash string
}

func parseSpec(text string, zone *time.Location, hash string) (*spec, error) {
	fields := strings.Fields(text)
	switch len(fields) {
	case 5:
		fields = append(append([]string{"0"}, fields...), "*")
	case 6:
		fields = append(fields, "*")
	case 7:
	default:
		return nil, &Error{Message: fmt.Sprintf("%q has %s", shorten(text), count(len(fields), "field")),
			Hint: "5 as in crontab(5), 6 with leading seconds, or 7 with a trailing year"}
	}
	r := reader{spec: &spec{zone: zone}, hash: hash}
	if err := r.read(fields); err != nil {
		return nil, err
	}
	return r.spec, r.spec.possible()
}

// read fills the spec from the seven fields.
func (r reader) read(text []string) error {
	s := r.spec
	plain := func(f field, text string) (uint64, error) {
		return f.read(text, func(item string) (uint64, bool, error) { return r.hashed(f, item) })
	}
	var err error
	if s.second, err = plain(secondField(), text[0]); err != nil {
		return err
	}
	if s.minute, err = plain(minuteField(), text[1]); err != nil {
		return err
	}
	hour, err := plain(hourField(), text[2])
	if err != nil {
		return err
	}
	dom, err := domField().read(text[3], r.domItem)
	if err != nil {
		return err
	}
	month, err := plain(monthField(), text[4])
	if err != nil {
		return err
	}
	dow, err := dowField().read(text[5], r.dowItem)
	if err != nil {
		return err
	}
	s.hour, s.dom, s.month, s.dow = uint32(hour), uint32(dom), uint16(month), uint8(dow)
	s.anyDom, s.anyDow = strings.ContainsAny(text[3][:1], "*?"), strings.ContainsAny(text[5][:1], "*?")
	s.clockBound = text[1][0] != '*' && text[2][0] != '*'
	return r.year(text[6])
}

// The items of the day fields that only this package reads.
var (
	domItem = regexp.MustCompile(`(?i)^(?:L(?:-([0-9]{1,2}))?(W)?|([0-9]{1,2})W)$`)
	dowItem = regexp.MustCompile(`(?i)^([0-9]|[A-Z]{3})(?:L|#([0-9]))$`)
)

// domItem reads L, L-n, LW, L-nW and nW.
func (r reader) domItem(item string) (uint64, bool, error) {
	f := domField()
	part := domItem.FindStringSubmatch(item)
	if part == nil {
		return r.hashed(f, item)
	}
	back, weekday, date := part[1], part[2], part[3]
	switch n, _ := strconv.Atoi(back + date); {
	case date != "" && (n < 1 || n > 31):
		return 0, false, f.refusal(f.hint, "%q is not one of its values", item)
	case date != "":
		r.spec.nearest |= 1 << n
	case n > 30 || back != "" && n < 1:
		return 0, false, f.refusal("L-1 to L-30", "no month has the day %s", item)
	case weekday != "":
		r.spec.backNearest |= 1 << n
	default:
		r.spec.back |= 1 << n
	}
	return 0, true, nil
}

// dowItem reads nL and n#k.
func (r reader) dowItem(item string) (uint64, bool, error) {
	f := dowField()
	if strings.EqualFold(item, "L") {
		return 0, false, f.refusal("write 6 for Saturday, 5L for the last Friday, or L in the day of month",
			"L can mean two things here")
	}
	part := dowItem.FindStringSubmatch(item)
	if part == nil {
		return r.hashed(f, item)
	}
	weekday, ok := f.value(part[1])
	k, _ := strconv.Atoi(part[2])
	switch {
	case !ok:
		return 0, false, f.refusal(f.hint, "%q is not one of its values", part[1])
	case part[2] == "":
		r.spec.last |= 1 << weekday
	case k < 1 || k > 5:
		return 0, false, f.refusal("#1 to #5, or 5L for the last Friday", "no month has the day %s", item)
	default:
		r.spec.nth[k-1] |= 1 << weekday
	}
	return 0, true, nil
}

// year reads the last field, which the parser does not know.
func (r reader) year(text string) error {
	if text == "*" {
		r.spec.everyYear = true
		return nil
	}
	f := field{name: "year", hint: fmt.Sprintf("%d to %d, such as 2027 or 2027-2030", firstYear, finalYear)}
	_, err := f.read(text, func(text string) (uint64, bool, error) {
		low, high, step, err := f.years(text)
		if err != nil {
			return 0, false, err
		}
		for i := low - firstYear; i <= high-firstYear; i += step {
			r.spec.years[i/64] |= 1 << (i % 64)
		}
		return 0, true, nil
	})
	return err
}

// years reads one item of years.
func (f field) years(text string) (low, high, step int, err error) {
	part := item.FindStringSubmatch(text)
	if part == nil || part[1] == "?" || part[1] == "*" && part[2] != "" {
		return 0, 0, 0, f.refusal(f.hint, "%q can't be read", text)
	}
	low, high, step = firstYear, finalYear, 1
	for i, n := range []*int{&low, &high, &step} {
		if part[i+1] == "" || part[i+1] == "*" {
			continue
		}
		if *n, err = strconv.Atoi(part[i+1]); err != nil {
			return 0, 0, 0, f.refusal(f.hint, "%q is not one of its values", part[i+1])
		}
	}
	if part[2] == "" && part[3] == "" {
		high = low
	}
	switch {
	case low < firstYear || low > finalYear || high < firstYear || high > finalYear:
		return 0, 0, 0, f.refusal(f.hint, "%q is outside of its values", text)
	case low > high:
		return 0, 0, 0, f.refusal("a range goes up", "%q goes down", text)
	case step < 1:
		return 0, 0, 0, f.refusal("a step is 1 or more", "%q steps by nothing", text)
	case step > 1 && step > high-low:
		return 0, 0, 0, f.refusal(fmt.Sprintf("it names %d alone: write that, or a smaller step", low),
			"%q steps over its whole range", text)
	}
	return low, high, step, nil
}

// possible refuses a spec that never comes due, or of which a day field never does.
func (s *spec) possible() error {
	const start = -1 // just before 1970, as a wall time and in Unix time: no year before it can be named
	both := domField()
	if s.anyDom {
		both = dowField()
	}
	for _, f := range []struct {
		field field
		spec  spec
	}{{both, *s}, {domField(), s.byDate()}, {dowField(), s.byWeekday()}} {
		if _, ok := f.spec.match(start); !ok {
			return f.field.refusal("look at the days, the month and the year together", "the day that it names never comes")
		}
	}
	if _, ok := s.after(start); !ok {
		return hourField().refusal("summer time begins then", "the time that it names never exists in %s", s.zone)
	}
	return nil
}

// byDate returns s with what its day of month says alone, if that may match alone.
func (s *spec) byDate() spec {
	alone := *s
	if !s.anyDom && !s.anyDow {
		alone.dow, alone.last, alone.nth = 0, 0, [5]uint8{}
	}
	return alone
}

// byWeekday returns s with what its day of week says alone, if that may match alone.
func (s *spec) byWeekday() spec {
	alone := *s
	if !s.anyDom && !s.anyDow {
		alone.dom, alone.nearest, alone.back, alone.backNearest = 0, 0, 0, 0
	}
	return alone
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// shorten keeps a long text from filling a message.
func shorten(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
