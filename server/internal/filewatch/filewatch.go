// Package filewatch keeps values that are parsed from files up to date while the files change.
package filewatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/internal/recovery"
)

// Interval is the time between two reads of a file. A change is noticed within it.
const Interval = time.Second

const (
	maxBytes = 1 << 20 // of a file: certificates and policies are far smaller
	hangTime = 5 * Interval
)

// Watcher reads files every Interval and updates the Values that were loaded from them.
//
// It compares contents, not metadata. Sizes, times and inodes have to be compared in a race with the
// writer, may all be equal after a change (an in-place write within one tick of the file system's clock),
// and don't say whether the file can be read. The files are small, and reading them costs microseconds.
type Watcher struct {
	log     *slog.Logger
	sources []source
}

// source is a Value of any type.
type source interface {
	update(ctx context.Context, log *slog.Logger)
}

// New returns a Watcher without files. Add some with Load before Run.
func New(log *slog.Logger) *Watcher { return &Watcher{log: log} }

// Run updates the Values until ctx ends. A read that hangs, as on a network file system, holds up no other file, and Run
// does not wait for it.
func (w *Watcher) Run(ctx context.Context) {
	for _, source := range w.sources {
		go w.follow(ctx, source)
	}
	<-ctx.Done()
}

// follow updates one Value until ctx ends.
func (w *Watcher) follow(ctx context.Context, source source) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.update(ctx, source)
		}
	}
}

func (w *Watcher) update(ctx context.Context, source source) {
	defer recovery.Log(ctx, w.log)
	source.update(ctx, w.log)
}

// A Parser makes a value of the contents of files, in the order in which they are named.
type Parser[T any] func(contents ...[]byte) (T, error)

// Value holds what was last parsed successfully from one or more files.
type Value[T any] struct {
	setting  string // that names the files, for the log
	files    []string
	parse    Parser[T]
	current  atomic.Pointer[T]
	stale    atomic.Bool
	reading  atomic.Pointer[time.Time] // when the read in progress began; nil if there is none
	contents [][]byte                  // of current
	problem  string                    // why the files can't be used; "" if they can
}

// Load parses the files of a setting and returns a Value that w keeps up to date. Files that can't be
// read or parsed are an error. If they become so later, the Value keeps what it has.
func Load[T any](w *Watcher, setting string, parse Parser[T], files ...string) (*Value[T], error) {
	v := &Value[T]{setting: setting, files: files, parse: parse}
	if _, err := v.reload(); err != nil {
		return nil, fmt.Errorf("load --%s: %w", setting, err)
	}
	w.sources = append(w.sources, v)
	return v, nil
}

// Parse parses files once.
func Parse[T any](parse Parser[T], files ...string) (T, error) {
	v := &Value[T]{files: files, parse: parse}
	if _, err := v.reload(); err != nil {
		var none T
		return none, err
	}
	return v.Load(), nil
}

// Load returns the value that was last parsed successfully.
func (v *Value[T]) Load() T { return *v.current.Load() }

// Stale reports whether the files can't be used, so that Load returns an older value than theirs. A read that hangs is
// reason enough.
func (v *Value[T]) Stale() bool {
	began := v.reading.Load()
	return v.stale.Load() || began != nil && time.Since(*began) > hangTime
}

// update reads the files. It logs a change, a new problem, and the end of a problem.
func (v *Value[T]) update(ctx context.Context, log *slog.Logger) {
	began := time.Now()
	v.reading.Store(&began)
	defer v.reading.Store(nil)
	changed, err := v.reload()
	switch {
	case err != nil && err.Error() != v.problem:
		v.problem = err.Error()
		log.ErrorContext(ctx, "watched file can't be used; the last good value stays in use",
			"setting", "--"+v.setting, "error", v.problem)
	case err == nil && changed:
		v.problem = ""
		log.InfoContext(ctx, "watched file reloaded", "setting", "--"+v.setting)
	case err == nil && v.problem != "":
		v.problem = ""
		log.InfoContext(ctx, "watched file can be used again, and is unchanged", "setting", "--"+v.setting)
	}
	v.stale.Store(err != nil)
}

// reload parses the files if their contents are not those of the current value.
func (v *Value[T]) reload() (changed bool, err error) {
	contents, err := read(v.files)
	if err != nil || v.current.Load() != nil && slices.EqualFunc(contents, v.contents, bytes.Equal) {
		return false, err
	}
	value, err := v.parse(contents...)
	if err != nil {
		return false, fmt.Errorf("%s: %w", strings.Join(v.files, ", "), err)
	}
	v.contents = contents
	v.current.Store(&value)
	return true, nil
}

// read returns the contents of files.
func read(files []string) ([][]byte, error) {
	contents := make([][]byte, 0, len(files))
	for _, file := range files {
		content, err := readFile(file)
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// readFile returns the content of a file. Anything but a regular file is refused, because to open a pipe could block
// forever, and so is a file that is too large to be meant.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && len(content) > maxBytes {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("the file is larger than 1 MiB")}
	}
	return content, err
}
