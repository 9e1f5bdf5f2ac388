package caller

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/watch"
)

// lookEvery is how long a changed policy file may go unnoticed.
const lookEvery = time.Second

// PolicyFile is a Policy in a file that may change while the service runs.
type PolicyFile struct {
	path    string
	log     *slog.Logger
	watch   *watch.Watch
	current atomic.Pointer[Policy]
}

// LoadPolicy loads the policy in a file. Its error says what is wrong with it and what to do.
func LoadPolicy(path string, log *slog.Logger) (*PolicyFile, error) {
	f := &PolicyFile{path: path, log: log, watch: watch.New(path)}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// Policy returns the policy that counts now.
func (f *PolicyFile) Policy() *Policy { return f.current.Load() }

// Run loads the policy anew whenever its file has changed, until ctx ends. A policy that is wrong changes
// nothing: the last good one goes on counting, and the log says why.
func (f *PolicyFile) Run(ctx context.Context) {
	f.watch.Run(ctx, lookEvery, func() {
		if err := f.load(); err != nil {
			f.log.ErrorContext(ctx, "the caller policy has changed but is wrong; the last good one goes on counting",
				"error", err.Error())
			return
		}
		f.log.InfoContext(ctx, "the caller policy has changed", "file", f.path)
	})
}

func (f *PolicyFile) load() error {
	content, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read the caller policy: %w", err)
	}
	policy, err := ParsePolicy(content)
	if err != nil {
		return fmt.Errorf("caller policy %s: %w", f.path, err)
	}
	f.current.Store(policy)
	return nil
}
