package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"crony"
)

// format is the form in which a command prints. It is a flag's value.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
	asYAML  format = "yaml"
)

// Allowed lists the formats.
func (format) Allowed() []string { return []string{"table", "json", "yaml"} }

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "FORMAT" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if !slices.Contains(f.Allowed(), s) {
		return fmt.Errorf("it is one of: %s", strings.Join(f.Allowed(), ", "))
	}
	*f = format(s)
	return nil
}

// tableOnly refuses the other formats for a command that has none.
func (c *cli) tableOnly(what string) error {
	if c.format == asTable {
		return nil
	}
	return crony.Errorf(crony.Invalid, "%s has no form in %s", what, c.format).WithHint("leave out -o")
}

// document prints one value in the format, which is not a table.
func (c *cli) document(v any) error {
	data, err := marshal(c.format, v)
	if err != nil {
		return err
	}
	return c.write(data)
}

func (c *cli) write(data []byte) error {
	if _, err := c.stdout.Write(data); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func marshal(f format, v any) ([]byte, error) {
	if f == asYAML {
		return marshalYAML(v)
	}
	data, err := marshalJSON(v)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// marshalJSON writes v indented, without a line end, and with <, > and & as they are: nobody puts it into a page.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// column is one of a table's.
type column[T any] struct {
	head string
	cell func(T) string // "" is shown as "-"
}

// list prints items as they come, whatever their number, in the command's format. An error among them ends it: what came
// before is printed, and an array is left open, so that nobody takes it for the whole.
func list[T any](c *cli, columns []column[T], items iter.Seq2[T, error]) error {
	out := bufio.NewWriter(c.stdout)
	var write func(io.Writer, []column[T], iter.Seq2[T, error]) error
	switch c.format {
	case asJSON:
		write = listJSON[T]
	case asYAML:
		write = listYAML[T]
	default:
		write = listTable[T]
	}
	if err := write(out, columns, items); err != nil {
		return errors.Join(err, out.Flush())
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func listJSON[T any](w io.Writer, _ []column[T], items iter.Seq2[T, error]) error {
	before := "[\n  "
	for item, err := range items {
		if err != nil {
			return err
		}
		data, err := marshalJSON(item)
		if err != nil {
			return err
		}
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\n  "))
		if _, err := fmt.Fprintf(w, "%s%s", before, data); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		before = ",\n  "
	}
	end := "\n]\n"
	if before == "[\n  " {
		end = "[]\n"
	}
	_, err := io.WriteString(w, end)
	return err
}

func listYAML[T any](w io.Writer, _ []column[T], items iter.Seq2[T, error]) error {
	some := false
	for item, err := range items {
		if err != nil {
			return err
		}
		data, err := marshalYAML([]T{item}) // lists of one, one after the other, are a list of all
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		some = true
	}
	if some {
		return nil
	}
	_, err := io.WriteString(w, "[]\n")
	return err
}

// rowsAligned is the number of rows that are held back to align their columns.
const rowsAligned = 200

func listTable[T any](w io.Writer, columns []column[T], items iter.Seq2[T, error]) error {
	table := newTable(w)
	for i := range columns {
		table.cell(columns[i].head)
	}
	table.end()
	rows := 0
	for item, err := range items {
		if err != nil {
			return errors.Join(err, table.flush())
		}
		for i := range columns {
			table.cell(columns[i].cell(item))
		}
		table.end()
		if rows++; rows%rowsAligned != 0 {
			continue
		}
		if err := table.flush(); err != nil {
			return err
		}
	}
	return table.flush()
}

// table aligns cells in columns.
type table struct {
	w   *tabwriter.Writer
	row []string
}

func newTable(w io.Writer) *table { return &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t *table) cell(text string) {
	if text = clean(text); text == "" {
		text = "-"
	}
	t.row = append(t.row, text)
}

func (t *table) end() {
	io.WriteString(t.w, strings.Join(t.row, "\t")+"\n") //nolint:errcheck // flush tells
	t.row = t.row[:0]
}

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// sheet is a summary of one thing: a label and a text on each line.
type sheet struct{ table }

func newSheet(w io.Writer) *sheet { return &sheet{*newTable(w)} }

// line adds a line, unless there is nothing to say.
func (s *sheet) line(label, text string) {
	if text == "" {
		return
	}
	s.cell(label + ":")
	s.cell(text)
	s.end()
}

// lines adds a line for each text; the first has the label.
func (s *sheet) lines(label string, texts []string) {
	label += ":"
	for _, text := range texts {
		s.row = append(s.row, label) // as it is: an empty one is no "-"
		s.cell(text)
		s.end()
		label = ""
	}
}

// clean keeps a text on one line and keeps a terminal from obeying it.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
