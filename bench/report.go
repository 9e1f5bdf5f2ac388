package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run saw.
type report struct {
	Machine   string   `json:"machine"`
	Go        string   `json:"go"`
	Commit    string   `json:"commit"` // of podero-facade
	Rounds    int      `json:"rounds"`
	Seconds   float64  `json:"seconds"` // that a round measures each server for
	Scenarios []result `json:"scenarios"`
}

// result is what was seen in one scenario.
type result struct {
	Name   string  `json:"name"`
	What   string  `json:"what"`
	Rows   []row   `json:"rows,omitempty"`
	Checks []check `json:"checks"`
}

// row is a server under a load: the medians of all rounds. Times are in microseconds.
type row struct {
	Server      string  `json:"server"`
	Callers     int     `json:"callers"`
	CPU         float64 `json:"cpu_us"` // of the server's process, for a call
	Throughput  float64 `json:"calls_per_second"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	P999        float64 `json:"p999_us"`
	LoadIsLimit bool    `json:"load_is_limit,omitempty"` // the load used more CPU than the server
}

// check is a figure beside its target, if it has one.
type check struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit,omitempty"` // a ratio has none
	Target  float64 `json:"target,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"` // the target is a lower bound, not an upper one
}

func (c *check) verdict() string {
	bound, met := "≤", c.Value <= c.Target
	if c.AtLeast {
		bound, met = "≥", c.Value >= c.Target
	}
	switch {
	case c.Target == 0:
		return ""
	case met:
		return fmt.Sprintf("%s %g", bound, c.Target)
	default:
		return fmt.Sprintf("%s %g, missed", bound, c.Target)
	}
}

// median returns the median of what is seen in samples.
func median[T any](samples []T, value func(T) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// newRow returns the medians of a server's samples.
func newRow(server string, callers int, samples []*sample) row {
	return row{
		Server:      server,
		Callers:     callers,
		CPU:         median(samples, func(s *sample) float64 { return microseconds(s.ServerCPU) / float64(max(s.Requests, 1)) }),
		Throughput:  median(samples, func(s *sample) float64 { return float64(s.Requests) / s.Time.Seconds() }),
		P50:         median(samples, func(s *sample) float64 { return microseconds(s.P50) }),
		P99:         median(samples, func(s *sample) float64 { return microseconds(s.P99) }),
		P999:        median(samples, func(s *sample) float64 { return microseconds(s.P999) }),
		LoadIsLimit: 2*len(slices.DeleteFunc(slices.Clone(samples), func(s *sample) bool { return !s.loadIsLimit() })) > len(samples),
	}
}

// find returns the row of a server.
func (r *result) find(server string, callers int) row {
	for _, row := range r.Rows {
		if row.Server == server && row.Callers == callers {
			return row
		}
	}
	return row{}
}

// trailing is the space that tables have at the end of lines.
var trailing = regexp.MustCompile(`(?m) +$`)

// write prints the report as a text.
func (r *report) write(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s, commit %s; medians of %d rounds of %g s\n", r.Machine, r.Go, r.Commit, r.Rounds, r.Seconds)
	limited := false
	for _, s := range r.Scenarios {
		fmt.Fprintf(&text, "\n%s: %s\n", s.Name, s.What)
		limited = s.writeRows(&text) || limited
		s.writeChecks(&text)
	}
	if limited {
		text.WriteString("\n* The load used more CPU than the server: throughput and latencies say more about the load.\n")
	}
	_, err := io.WriteString(w, trailing.ReplaceAllString(text.String(), ""))
	return err
}

// writeRows prints the servers, and reports whether the load was the limit of one.
func (r *result) writeRows(w io.Writer) (limited bool) {
	if len(r.Rows) == 0 {
		return false
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "server\tcallers\tCPU µs/call\tcalls/s\tp50 µs\tp99 µs\tp99.9 µs\t")
	for _, row := range r.Rows {
		mark := " "
		if row.LoadIsLimit {
			mark, limited = "*", true
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%.1f\t%.0f%s\t%.0f\t%.0f\t%.0f\t\n",
			row.Server, row.Callers, row.CPU, row.Throughput, mark, row.P50, row.P99, row.P999)
	}
	_ = table.Flush()
	return limited
}

// writeChecks prints the figures that have a target, and others.
func (r *result) writeChecks(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		_, _ = fmt.Fprintf(table, "  %s\t%.2f %s\t%s\n", c.What, c.Value, c.Unit, c.verdict())
	}
	_ = table.Flush()
}
