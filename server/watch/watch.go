// Package watch tells when files change, such as certificates that are renewed while the service runs.
package watch

import (
	"context"
	"io/fs"
	"os"
	"time"
)

// Watch knows some files as it last saw them.
type Watch struct {
	files []string
	seen  []fs.FileInfo // of each file; nil while it was never there
}

// New returns a Watch that knows the files as they are now. Call it before the files are read for the
// first time, so that no change falls in between. A file need not exist yet.
func New(files ...string) *Watch {
	w := &Watch{files: files, seen: make([]fs.FileInfo, len(files))}
	w.look()
	return w
}

// Run calls changed whenever a file became another one, or has another size, modification time or mode,
// and when a missing one appeared; once for all that changed at the same time. It looks at the files
// every so often, because file systems notify of changes unreliably, and follows symbolic links, which
// is how Kubernetes replaces files. A file that went missing counts as unchanged: it is about to be
// replaced. Run returns when ctx ends.
func (w *Watch) Run(ctx context.Context, every time.Duration, changed func()) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if w.look() {
				changed()
			}
		}
	}
}

// look takes note of how the files are now, and reports whether they were different.
func (w *Watch) look() bool {
	changed := false
	for i, file := range w.files {
		info, err := os.Stat(file)
		if err != nil {
			continue
		}
		if w.seen[i] == nil || differ(w.seen[i], info) {
			w.seen[i] = info
			changed = true
		}
	}
	return changed
}

func differ(a, b fs.FileInfo) bool {
	return !os.SameFile(a, b) || a.Size() != b.Size() || a.Mode() != b.Mode() || !a.ModTime().Equal(b.ModTime())
}
