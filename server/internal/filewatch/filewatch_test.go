package filewatch_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"example.com/podero-facade/server/internal/filewatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must fails the test if preparing it failed.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	must(t, os.WriteFile(file, []byte(content), 0o600))
}

// rename replaces a file atomically.
func rename(t *testing.T, file, content string) {
	t.Helper()
	write(t, file+".new", content)
	must(t, os.Rename(file+".new", file))
}

// parse joins contents. It refuses an empty file, and "bad".
func parse(contents ...[]byte) (string, error) {
	for _, content := range contents {
		switch string(content) {
		case "":
			return "", errors.New("it is empty")
		case "bad":
			return "", errors.New("it is bad")
		case "panic":
			panic("hunter2")
		}
	}
	return string(bytes.Join(contents, []byte("+"))), nil
}

// logText is a log that may be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// step changes files and says what must follow within filewatch.Interval.
type step struct {
	change func()
	want   string
	stale  bool
	log    string // a part of the only line that is logged; "" for none
}

const (
	reloaded = "watched file reloaded"
	problem  = "watched file can't be used"
	again    = "can be used again, and is unchanged"
)

// play runs a Watcher of files and plays steps.
func play(t *testing.T, steps []step, files ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log logText
		watcher := filewatch.New(slog.New(slog.NewTextHandler(&log, nil)))
		value, err := filewatch.Load(watcher, "some-file", parse, files...)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go watcher.Run(ctx)
		time.Sleep(filewatch.Interval / 2)
		for i, step := range steps {
			before := len(log.String())
			step.change()
			time.Sleep(filewatch.Interval)
			if got := value.Load(); got != step.want {
				t.Errorf("step %d: value = %q, want %q", i, got, step.want)
			}
			if got := value.Stale(); got != step.stale {
				t.Errorf("step %d: stale = %v, want %v", i, got, step.stale)
			}
			time.Sleep(5 * filewatch.Interval) // a state is logged once, not at each tick
			written := log.String()[before:]
			if lines := strings.Count(written, "\n"); !strings.Contains(written, step.log) || (lines == 1) != (step.log != "") || lines > 1 {
				t.Errorf("step %d: log = %q, want one line with %q", i, written, step.log)
			}
		}
	})
}

func TestValueFollowsItsFile(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	for name, steps := range map[string]func(t *testing.T, file string) []step{
		"nothing happens": func(*testing.T, string) []step { return []step{{func() {}, "one", false, ""}} },
		"written in place": func(t *testing.T, file string) []step {
			return []step{{func() { write(t, file, "longer") }, "longer", false, reloaded}}
		},
		"replaced": func(t *testing.T, file string) []step {
			return []step{{func() { rename(t, file, "two") }, "two", false, reloaded}}
		},
		"touched": func(t *testing.T, file string) []step {
			return []step{{func() { must(t, os.Chtimes(file, past, past)) }, "one", false, ""}}
		},
		"several at a time": func(t *testing.T, file string) []step {
			return []step{{func() { write(t, file, "x"); write(t, file, "y") }, "y", false, reloaded}}
		},
		"written in place, size and time as before": func(t *testing.T, file string) []step {
			return []step{{func() {
				info, err := os.Stat(file)
				must(t, err)
				write(t, file, "two")
				must(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
			}, "two", false, reloaded}}
		},
		"replaced, size and time as before": func(t *testing.T, file string) []step {
			return []step{{func() {
				info, err := os.Stat(file)
				must(t, err)
				write(t, file+".new", "two")
				must(t, os.Chtimes(file+".new", info.ModTime(), info.ModTime()))
				must(t, os.Rename(file+".new", file))
			}, "two", false, reloaded}}
		},
		"gone, and there again late": func(t *testing.T, file string) []step {
			return []step{
				{func() { must(t, os.Remove(file)) }, "one", true, problem},
				{func() {}, "one", true, ""},
				{func() { write(t, file, "two") }, "two", false, reloaded},
			}
		},
		"gone, and there again unchanged": func(t *testing.T, file string) []step {
			return []step{
				{func() { must(t, os.Remove(file)) }, "one", true, problem},
				{func() { write(t, file, "one") }, "one", false, again},
			}
		},
		"empty for a while": func(t *testing.T, file string) []step {
			return []step{
				{func() { write(t, file, "") }, "one", true, "it is empty"},
				{func() { write(t, file, "two") }, "two", false, reloaded},
			}
		},
		"bad in different ways": func(t *testing.T, file string) []step {
			return []step{
				{func() { write(t, file, "bad") }, "one", true, "it is bad"},
				{func() { write(t, file, "") }, "one", true, "it is empty"},
				{func() { write(t, file, "one") }, "one", false, again},
			}
		},
		"a directory for a while": func(t *testing.T, file string) []step {
			return []step{
				{func() { must(t, os.Remove(file)); must(t, os.Mkdir(file, 0o700)) }, "one", true, "not a regular file"},
				{func() { must(t, os.Remove(file)); write(t, file, "two") }, "two", false, reloaded},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file")
			write(t, file, "one")
			play(t, steps(t, file), file)
		})
	}
}

// TestPermissionLostForAWhile changes the mode of the file's directory and of the file. Neither changes the file's
// size or modification time.
func TestPermissionLostForAWhile(t *testing.T) {
	if os.Geteuid() == 0 { // who may read everything
		const nobody = 65534
		must(t, syscall.Seteuid(nobody))
		t.Cleanup(func() { must(t, syscall.Seteuid(0)) })
	}
	dir, err := os.MkdirTemp("", "") // t.TempDir is in a directory of root
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	file := filepath.Join(dir, "file")
	write(t, file, "one")
	play(t, []step{
		{func() { must(t, os.Chmod(file, 0)) }, "one", true, "permission denied"},
		{func() { must(t, os.Chmod(file, 0o600)) }, "one", false, again},
		{func() { write(t, file, "two"); must(t, os.Chmod(dir, 0)) }, "one", true, "permission denied"},
		{func() { must(t, os.Chmod(dir, 0o700)) }, "two", false, reloaded},
	}, file)
}

// TestKubernetesVolume replaces files as Kubernetes does: file is a link through ..data, a link to a directory that is
// swapped by a rename.
func TestKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "..data"), filepath.Join(dir, "file")
	swap := func(version string) {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "file"), version)
		must(t, os.Symlink(version, data+"_tmp"))
		must(t, os.Rename(data+"_tmp", data))
	}
	swap("1")
	must(t, os.Symlink(filepath.Join("..data", "file"), file))
	play(t, []step{
		{func() { swap("2") }, "2", false, reloaded},
		{func() { must(t, os.RemoveAll(filepath.Join(dir, "1"))) }, "2", false, ""},
		{func() { must(t, os.RemoveAll(filepath.Join(dir, "2"))) }, "2", true, problem},
		{func() { swap("3") }, "3", false, reloaded},
	}, file)
}

func TestFilesOfOneValueChangeTogether(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "certificate"), filepath.Join(dir, "key")
	write(t, certificate, "c1")
	write(t, key, "k1")
	play(t, []step{
		{func() { write(t, certificate, "c2"); write(t, key, "k2") }, "c2+k2", false, reloaded},
		{func() { write(t, key, "bad") }, "c2+k2", true, problem},
		{func() { write(t, certificate, "c3") }, "c2+k2", true, ""},
		{func() { write(t, key, "k3") }, "c3+k3", false, reloaded},
	}, certificate, key)
}

func TestAPanicStopsNoOtherValue(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	write(t, first, "one")
	write(t, second, "one")
	synctest.Test(t, func(t *testing.T) {
		var log logText
		watcher := filewatch.New(slog.New(slog.NewTextHandler(&log, nil)))
		_, err := filewatch.Load(watcher, "first", parse, first)
		must(t, err)
		value, err := filewatch.Load(watcher, "second", parse, second)
		must(t, err)
		write(t, first, "panic")
		write(t, second, "two")
		ctx, cancel := context.WithTimeout(t.Context(), 3*filewatch.Interval/2)
		defer cancel()
		watcher.Run(ctx)
		synctest.Wait()
		if got := value.Load(); got != "two" {
			t.Errorf("value = %q, want two", got)
		}
		if !strings.Contains(log.String(), "msg=panic") || strings.Contains(log.String(), "hunter2") {
			t.Errorf("log = %q, want a panic without its value", log.String())
		}
	})
}

func TestABadFileIsRefusedAtTheStart(t *testing.T) {
	for _, content := range []string{"", "bad"} {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, content)
		_, err := filewatch.Load(filewatch.New(slog.New(slog.DiscardHandler)), "some-file", parse, file)
		if err == nil || !strings.Contains(err.Error(), "--some-file") || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: error %v, want one that names the setting and the file", content, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := filewatch.Parse(parse, missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
}
