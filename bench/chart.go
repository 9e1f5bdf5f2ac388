package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// chartCommand puts what a run saw into the documentation.
type chartCommand struct {
	Report    string `arg:"" help:"What a run printed with --output json."`
	Directory string `arg:"" help:"Where performance.md is, which gets the table, and the charts."`
}

// The table in performance.md stands between these lines.
const (
	tableBegins = "<!-- the table begins -->\n"
	tableEnds   = "<!-- the table ends -->\n"
)

// Run writes the charts, and the report as a table.
func (c *chartCommand) Run() error {
	text, err := os.ReadFile(c.Report)
	if err != nil {
		return err
	}
	var seen report
	if err := json.Unmarshal(text, &seen); err != nil {
		return fmt.Errorf("read %s: %w", c.Report, err)
	}
	page := filepath.Join(c.Directory, "performance.md")
	prose, err := os.ReadFile(page) //nolint:gosec // the documentation
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(prose), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the table", page)
	}
	var table strings.Builder
	if err := seen.write(&table); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"performance.md":             before + tableBegins + "```text\n" + table.String() + "```\n" + tableEnds + after,
		"performance-cpu.svg":        seen.drawCPU(),
		"performance-throughput.svg": seen.drawThroughput(),
	} {
		if err := os.WriteFile(filepath.Join(c.Directory, name), []byte(content), 0o644); err != nil { //nolint:gosec // to be read
			return err
		}
	}
	return nil
}

// Colours. Ours is the one that stands out.
const (
	ink   = "#1f2933"
	grid  = "#d9dee3"
	ours  = "#0b6e99"
	peer1 = "#9aa5b1"
	peer2 = "#c58b3a"
)

// drawing is an SVG as it grows.
type drawing struct{ svg strings.Builder }

func newDrawing(width, height float64, title string) *drawing {
	d := &drawing{}
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12" fill="%s" role="img">`,
		width, height, ink)
	d.add(`<title>%s</title><rect width="100%%" height="100%%" fill="#fff"/>`, title)
	d.text(10, 22, "start", title)
	return d
}

func (d *drawing) add(format string, args ...any) { _, _ = fmt.Fprintf(&d.svg, format+"\n", args...) }

func (d *drawing) text(x, y float64, anchor, text string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, text)
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	d.add(`<path d="M%.1f %.1fL%.1f %.1f" stroke="%s"/>`, x1, y1, x2, y2, colour)
}

func (d *drawing) end() string {
	d.add("</svg>")
	return d.svg.String()
}

func isOurs(server string) bool { return strings.HasPrefix(server, "facade") }

// drawCPU draws a bar for each server of the scenarios that compare CPU.
func (r *report) drawCPU() string {
	const (
		width, left, right = 760.0, 140.0, 90.0
		step, bar          = 22.0, 15.0
	)
	compared := slices.DeleteFunc(slices.Clone(r.Scenarios), func(s result) bool {
		return !slices.Contains([]string{"P1", "P2", "P3", "P4"}, s.Name)
	})
	longest, height := 0.0, 40.0
	for _, s := range compared {
		height += step * float64(len(s.Rows)+2)
		for _, row := range s.Rows {
			longest = max(longest, row.CPU)
		}
	}
	d := newDrawing(width, height, "CPU for a call, in microseconds of the server's process")
	y := 40.0
	for _, s := range compared {
		y += step
		d.text(10, y, "start", s.Name+": "+s.What)
		for _, row := range s.Rows {
			y += step
			colour := peer1
			if isOurs(row.Server) {
				colour = ours
			}
			long := (width - left - right) * row.CPU / longest
			d.text(left-8, y, "end", row.Server)
			d.add(`<rect x="%g" y="%.1f" width="%.1f" height="%g" fill="%s"/>`, left, y-bar+3, long, bar, colour)
			d.text(left+long+6, y, "start", fmt.Sprintf("%.0f", row.CPU))
		}
		y += step
	}
	return d.end()
}

// drawThroughput draws each server's calls for a second against how many call at the same time.
func (r *report) drawThroughput() string {
	const width, height, left, right, top, bottom = 760.0, 380.0, 70.0, 110.0, 50.0, 60.0
	d := newDrawing(width, height, "Calls for a second, by how many call at the same time (gRPC, uncached)")
	i := slices.IndexFunc(r.Scenarios, func(s result) bool { return s.Name == "P6" })
	if i < 0 {
		return d.end()
	}
	rows := r.Scenarios[i].Rows
	most := 0.0
	var callers []int
	var servers []string
	for _, row := range rows {
		most = max(most, row.Throughput)
		if !slices.Contains(callers, row.Callers) {
			callers = append(callers, row.Callers)
		}
		if !slices.Contains(servers, row.Server) {
			servers = append(servers, row.Server)
		}
	}
	tick := math.Pow(10, math.Floor(math.Log10(max(most, 1))))
	if most < 3*tick {
		tick /= 2
	}
	most = math.Ceil(most/tick) * tick
	x := func(n int) float64 {
		last := math.Log2(float64(max(callers[len(callers)-1], 2)))
		return left + (width-left-right)*math.Log2(float64(n))/last
	}
	y := func(value float64) float64 { return height - bottom - (height-top-bottom)*value/most }
	for value := 0.0; value <= most; value += tick {
		d.line(left, y(value), width-right, y(value), grid)
		d.text(left-8, y(value)+4, "end", fmt.Sprintf("%.0f", value))
	}
	for _, n := range callers {
		d.text(x(n), height-bottom+20, "middle", fmt.Sprint(n))
	}
	d.text((left+width-right)/2, height-bottom+42, "middle", "callers")
	colours := []string{peer2, peer1}
	for i, server := range servers {
		colour := colours[i%len(colours)]
		if isOurs(server) {
			colour = ours
		}
		path, end := "", 0.0
		for _, row := range rows {
			if row.Server == server {
				end = y(row.Throughput)
				path += fmt.Sprintf("L%.1f %.1f", x(row.Callers), end)
			}
		}
		d.add(`<path d="M%s" fill="none" stroke="%s" stroke-width="2.5"/>`, path[1:], colour)
		d.text(width-right+8, end+4, "start", server)
	}
	return d.end()
}
