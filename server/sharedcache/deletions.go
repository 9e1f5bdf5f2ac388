package sharedcache

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxDeletions is the number of pending deletions that are kept. One takes some 150 bytes.
const maxDeletions = 4096

// deletions are the entries that Podero has denied and that Redis has not confirmed to have deleted. They
// are never read, so that an entry whose deletion could not be sent does not come back.
type deletions struct {
	mu      sync.Mutex
	pending map[string]time.Time // of the denial, by name
	lost    time.Time            // when there were too many; everything that is older counts as denied
}

// add adds an entry that was denied now.
func (d *deletions) add(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if len(d.pending) >= maxDeletions {
		clear(d.pending)
		d.lost = now
	}
	if d.pending == nil {
		d.pending = map[string]time.Time{}
	}
	d.pending[name] = now
}

// covers reports whether an entry that was fetched at a time has been denied since.
func (d *deletions) covers(name string, fetched time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	denied, ok := d.pending[name]
	return ok && !fetched.After(denied) || !fetched.After(d.lost)
}

// has reports whether the deletion of an entry is pending.
func (d *deletions) has(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.pending[name]
	return ok
}

// send deletes all entries whose deletion is pending.
func (d *deletions) send(ctx context.Context, client redis.UniversalClient) error {
	d.mu.Lock()
	sent := maps.Clone(d.pending)
	d.mu.Unlock()
	if len(sent) == 0 {
		return nil
	}
	pipe := client.Pipeline() // not one command, as the entries may be on different nodes of a cluster
	for name := range sent {
		pipe.Del(ctx, name)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.pending, func(name string, denied time.Time) bool { return sent[name].Equal(denied) })
	return nil
}
