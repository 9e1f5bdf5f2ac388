package watch_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"example.com/podero-facade/server/watch"
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

// rename is how a file is replaced at once.
func rename(t *testing.T, file, content string) {
	t.Helper()
	write(t, file+".new", content)
	must(t, os.Rename(file+".new", file))
}

func TestRunTellsWhenAFileChanged(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		change func(t *testing.T, file string)
		want   int
	}{
		"nothing happened":      {func(*testing.T, string) {}, 0},
		"another size":          {func(t *testing.T, file string) { write(t, file, "longer than before") }, 1},
		"another time":          {func(t *testing.T, file string) { must(t, os.Chtimes(file, past, past)) }, 1},
		"became readable":       {func(t *testing.T, file string) { must(t, os.Chmod(file, 0o640)) }, 1},
		"went missing":          {func(t *testing.T, file string) { must(t, os.Remove(file)) }, 0},
		"replaced":              {func(t *testing.T, file string) { rename(t, file, "two") }, 1},
		"replaced, times alike": {replaceWithTime, 1},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file")
			write(t, file, "one")
			if got := changes(t, func() { c.change(t, file) }, file); got != c.want {
				t.Errorf("%d changes, want %d", got, c.want)
			}
		})
	}
}

// replaceWithTime puts another file in the place of one, with its size and modification time.
func replaceWithTime(t *testing.T, file string) {
	info, err := os.Stat(file)
	must(t, err)
	write(t, file+".new", "two")
	must(t, os.Chtimes(file+".new", info.ModTime(), info.ModTime()))
	must(t, os.Rename(file+".new", file))
}

// changes counts the calls that a change causes within a minute of looking every second.
func changes(t *testing.T, change func(), files ...string) (count int) {
	synctest.Test(t, func(t *testing.T) {
		w := watch.New(files...)
		change()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.Run(ctx, time.Second, func() { count++ })
	})
	return count
}

func TestAMissingFileChangesWhenItAppears(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if got := changes(t, func() { write(t, file, "one") }, file); got != 1 {
		t.Errorf("%d changes, want 1", got)
	}
}

func TestALinkChangesWithItsTarget(t *testing.T) {
	directory := t.TempDir()
	for _, version := range []string{"1", "2"} {
		must(t, os.Mkdir(filepath.Join(directory, version), 0o700))
		write(t, filepath.Join(directory, version, "file"), version)
	}
	// As Kubernetes does: file is a link through a link to a directory, and the latter is swapped.
	data, file := filepath.Join(directory, "..data"), filepath.Join(directory, "file")
	must(t, os.Symlink("1", data))
	must(t, os.Symlink(filepath.Join("..data", "file"), file))
	swap := func() {
		must(t, os.Symlink("2", data+".new"))
		must(t, os.Rename(data+".new", data))
	}
	if got := changes(t, swap, file); got != 1 {
		t.Errorf("%d changes, want 1", got)
	}
}

func TestFilesThatChangeTogetherAreOneChange(t *testing.T) {
	directory := t.TempDir()
	certificate, key := filepath.Join(directory, "certificate"), filepath.Join(directory, "key")
	write(t, certificate, "one")
	both := func() {
		write(t, certificate, "another")
		write(t, key, "another")
	}
	if got := changes(t, both, certificate, key); got != 1 {
		t.Errorf("%d changes, want 1", got)
	}
}

func TestEveryChangeCountsWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan time.Time, 10)
		var running sync.WaitGroup
		w := watch.New(file)
		running.Go(func() { w.Run(ctx, time.Second, func() { changed <- time.Now() }) })
		for content := "x"; len(content) < 4; content += "x" {
			write(t, file, content)
			written := time.Now()
			if took := (<-changed).Sub(written); took > time.Second {
				t.Errorf("noticed after %v", took)
			}
		}
		cancel()
		running.Wait()
	})
}
