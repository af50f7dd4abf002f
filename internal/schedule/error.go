package schedule

// Error says what is wrong with a schedule, a calendar or a set of them.
type Error struct {
	Field   string // second, minute, hour, day of month, month, day of week, year, time zone; "" if it is none of them
	Message string // without the field's name
	Hint    string // what to do; "" if there is nothing to say
}

// Error returns the field, the message and the hint.
func (e *Error) Error() string {
	text := e.Message
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}
