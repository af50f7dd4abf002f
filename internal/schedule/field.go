package schedule

import (
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"
)

// field is a place in a schedule's text.
type field struct {
	name     string
	option   cron.ParseOption // that has the parser read this field alone
	bits     func(*cron.SpecSchedule) uint64
	min, max int // what H chooses from
	hint     string
}

// The fields, in the order of the text.
func secondField() field {
	return field{
		name: "second", option: cron.Second, bits: func(s *cron.SpecSchedule) uint64 { return s.Second },
		min: 0, max: 59, hint: "0 to 59, such as 0, */10 or 5-20",
	}
}

func minuteField() field {
	return field{
		name: "minute", option: cron.Minute, bits: func(s *cron.SpecSchedule) uint64 { return s.Minute },
		min: 0, max: 59, hint: "0 to 59, such as 30, */15 or 0-29/10",
	}
}

func hourField() field {
	return field{
		name: "hour", option: cron.Hour, bits: func(s *cron.SpecSchedule) uint64 { return s.Hour },
		min: 0, max: 23, hint: "0 to 23, such as 2, */6 or 9-17",
	}
}

func domField() field {
	return field{
		name: "day of month", option: cron.Dom, bits: func(s *cron.SpecSchedule) uint64 { return s.Dom },
		min: 1, max: 28, hint: "1 to 31, such as 1,15 or L, LW, L-3, 15W",
	}
}

func monthField() field {
	return field{
		name: "month", option: cron.Month, bits: func(s *cron.SpecSchedule) uint64 { return s.Month },
		min: 1, max: 12, hint: "1 to 12 or jan to dec, such as 3,9 or */3",
	}
}

func dowField() field {
	return field{
		name: "day of week", option: cron.Dow, bits: func(s *cron.SpecSchedule) uint64 { return s.Dow },
		min: 0, max: 6, hint: "0 to 7 or sun to sat, such as 1-5, 5L or fri#2",
	}
}

// item is what the parser is given to read: * or ? or a value, then perhaps a range's end, then perhaps a step.
var item = regexp.MustCompile(`(?i)^(\*|\?|[0-9]{1,4}|[A-Z]{3})(?:-([0-9]{1,4}|[A-Z]{3}))?(?:/([0-9]{1,4}))?$`)

// refusal makes an error of the field.
func (f field) refusal(hint, format string, args ...any) error {
	return &Error{Field: f.name, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// read returns the values of a list. What the parser can't read is offered to extra first.
func (f field) read(list string, extra func(item string) (uint64, bool, error)) (uint64, error) {
	items := strings.Split(list, ",")
	var set uint64
	for _, text := range items {
		switch {
		case text == "":
			return 0, f.refusal("write 1,2 and not 1,,2", "%q has an empty place in its list", list)
		case len(items) > 1 && (text == "*" || text == "?"):
			return 0, f.refusal("write it alone", "%q leaves nothing for the rest of its list to say", text)
		}
		values, ok, err := extra(text)
		if err == nil && !ok {
			values, err = f.item(text)
		}
		if err != nil {
			return 0, err
		}
		set |= values
	}
	return set, nil
}

// item returns the values of one item of a list, and refuses what the parser would misread.
func (f field) item(text string) (uint64, error) {
	part := item.FindStringSubmatch(text)
	if part == nil {
		return 0, f.refusal(f.hint, "%q can't be read", text)
	}
	low, high, step := part[1], part[2], part[3]
	switch {
	case low == "?" && (text != "?" || f.option != cron.Dom && f.option != cron.Dow):
		return 0, f.refusal("write *", "%q can't be read", text)
	case low == "*" && high != "":
		return 0, f.refusal(f.hint, "%q can't be read", text)
	case step != "" && strings.Trim(step, "0") == "":
		return 0, f.refusal("a step is 1 or more", "%q steps by nothing", text)
	}
	set, ok := f.values(low, high, step)
	if !ok {
		return 0, f.unreadable(text, low, high)
	}
	if step != "" && bits.OnesCount64(set) == 1 && strings.TrimLeft(step, "0") != "1" {
		return 0, f.refusal(fmt.Sprintf("it names %d alone: write that, or a smaller step", bits.TrailingZeros64(set)),
			"%q steps over its whole range", text)
	}
	return set, nil
}

// unreadable says why the parser refused an item.
func (f field) unreadable(text, low, high string) error {
	for _, value := range []string{low, high} {
		if _, ok := f.values(value, "", ""); value != "" && !ok {
			return f.refusal(f.hint, "%q is not one of its values", value)
		}
	}
	return f.refusal("a range goes up: write one that wraps around in two, like 22-23,0-5", "%q goes down", text)
}

// values has the parser read an item.
func (f field) values(low, high, step string) (uint64, bool) {
	if f.option == cron.Dow && (isSeven(low) || isSeven(high) || isSunday(high) && !isSunday(low) && low != "0") {
		return withSeven(low, high, step)
	}
	text := low
	if high != "" {
		text += "-" + high
	}
	if step != "" {
		text += "/" + step
	}
	return f.parse(text)
}

func (f field) parse(text string) (uint64, bool) {
	s, err := cron.NewParser(f.option).Parse(text)
	if err != nil {
		return 0, false
	}
	const star = 1 << 63 // the parser's own mark
	return f.bits(s.(*cron.SpecSchedule)) &^ star, true
}

func isSeven(value string) bool  { return strings.TrimLeft(value, "0") == "7" }
func isSunday(value string) bool { return strings.EqualFold(value, "sun") }

// withSeven reads days of week in which a Sunday is 7, or ends a range: as hours, which reach that far.
func withSeven(low, high, step string) (uint64, bool) {
	days := dowField()
	number := func(value string) string {
		if set, ok := days.parse(value); ok {
			return strconv.Itoa(bits.TrailingZeros64(set))
		}
		return value
	}
	text := number(low)
	switch {
	case isSunday(high):
		text += "-7"
	case high != "":
		text += "-" + number(high)
	case step != "":
		text += "-7"
	}
	if step != "" {
		text += "/" + step
	}
	set, ok := hourField().parse(text)
	if !ok || set>>8 != 0 {
		return 0, false
	}
	return set&0x7f | set>>7, true
}

// value returns the one value that a number or a name is.
func (f field) value(text string) (int, bool) {
	set, ok := f.values(text, "", "")
	if !ok || bits.OnesCount64(set) != 1 {
		return 0, false
	}
	return bits.TrailingZeros64(set), true
}
