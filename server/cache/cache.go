// Package cache reuses answers of Podero's (contract.md, section 5: --cache-ttl, --cache-stale-if-error).
package cache

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/podero"
)

// The metadata, and the headers of REST, that tell of an answer from the cache.
const (
	StateHeader = "x-cache" // hit or stale
	AgeHeader   = "age"     // in seconds (RFC 9111, section 5.1)
)

const (
	maxBytes     = 64 << 20        // of all entries, about
	notFoundTime = 5 * time.Second // what is missing may be created at any time

	// A call that may be answered with a stale document keeps a tenth of its time, and no more than
	// maxReserve, to do so.
	maxReserve = 50 * time.Millisecond
)

// Cache answers a lookup with what the same lookup gave before. Entries in use are renewed in the
// background before their time is over.
type Cache struct {
	config  Config
	entries *otter.Cache[podero.Key, *entry]
	renewal sync.WaitGroup
	closing context.Context // of renewals
	close   context.CancelFunc

	hits, stale, misses atomic.Int64
}

// A Source is what is behind a Cache. It bounds the time of a lookup.
type Source interface {
	// FindWithin finds a document as it was less than maxAge ago, and returns how long ago that was: 0 if Podero was
	// asked for it now.
	FindWithin(ctx context.Context, key podero.Key, maxAge time.Duration) (proto.Message, time.Duration, error)
}

// Fresh returns a Source that asks a Finder whose documents are those of now.
func Fresh(finder podero.Finder) Source { return fresh{finder} }

type fresh struct{ podero.Finder }

func (f fresh) FindWithin(ctx context.Context, key podero.Key, _ time.Duration) (proto.Message, time.Duration, error) {
	message, err := f.Find(ctx, key)
	return message, 0, err
}

// Config is what a Cache needs.
type Config struct {
	Next         Source
	TTL          time.Duration // how long an answer may be reused
	StaleIfError time.Duration // how much longer if Podero is unavailable or too slow
	Log          *slog.Logger
}

// entry is an answer of Podero's: a document, or that there is none.
type entry struct {
	message  proto.Message // nil if there is none
	notFound error
	asked    time.Time // by the monotonic clock
	fresh    time.Duration
	kept     time.Duration
	renewing atomic.Bool
}

// New returns an empty Cache.
func New(config Config) (*Cache, error) {
	entries, err := otter.New(&otter.Options[podero.Key, *entry]{
		MaximumWeight: maxBytes,
		Weigher:       weigh,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[podero.Key, *entry]) time.Duration {
			return e.Value.kept
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("create the cache: %w", err)
	}
	c := &Cache{config: config, entries: entries}
	c.closing, c.close = context.WithCancel(context.Background())
	return c, nil
}

// Hits returns how many lookups so far were answered with what is in the cache.
func (c *Cache) Hits() int64 { return c.hits.Load() }

// Stale returns how many lookups so far were answered with a stale document, for want of a better answer.
func (c *Cache) Stale() int64 { return c.stale.Load() }

// Misses returns how many lookups so far had to be asked.
func (c *Cache) Misses() int64 { return c.misses.Load() }

// weigh returns how many bytes an entry holds at most, about.
func weigh(key podero.Key, e *entry) uint32 {
	const structures = 768 // of entry, message and otter
	bytes := structures + podero.MaxShared + len(key.OrgID) + len(key.Path) + key.Token.Len() + proto.Size(e.message)
	if bytes < 0 || bytes > math.MaxUint32 { // no document is that large
		return math.MaxUint32
	}
	return uint32(bytes)
}

// Close ends renewals.
func (c *Cache) Close() {
	c.close()
	c.renewal.Wait()
	c.entries.StopAllGoroutines()
}

// Find finds the document in the cache, or behind it.
func (c *Cache) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	e, ok := c.entries.GetIfPresent(key)
	if !ok {
		c.misses.Add(1)
		return c.askAndTell(ctx, key)
	}
	age := time.Since(e.asked)
	if age < e.fresh {
		if soon := e.fresh * 3 / 4; age > soon {
			c.renew(ctx, key, e, soon)
		}
		c.hits.Add(1)
		tell(ctx, "hit", age)
		return e.message, e.notFound
	}
	c.misses.Add(1)
	if e.message == nil {
		return c.askAndTell(ctx, key)
	}
	return c.askOrStale(ctx, key, e)
}

// ask finds the document behind the cache, less than maxAge old, and keeps the answer.
func (c *Cache) ask(ctx context.Context, key podero.Key, maxAge time.Duration) (proto.Message, time.Duration, error) {
	asked := time.Now()
	message, age, err := c.config.Next.FindWithin(ctx, key, maxAge)
	asked = asked.Add(-age)
	switch {
	case err == nil && key.Matches(message):
		c.entries.Set(key, &entry{message: message, asked: asked, fresh: c.config.TTL, kept: c.config.TTL + c.config.StaleIfError})
	case fault.Is(err, key.Resource.Missing):
		fresh := min(c.config.TTL, notFoundTime)
		c.entries.Set(key, &entry{notFound: err, asked: asked, fresh: fresh, kept: fresh})
	case err == nil, denies(err):
		c.entries.Invalidate(key)
	}
	return message, age, err
}

// askAndTell finds the document behind the cache, and says so if the answer is not of now.
func (c *Cache) askAndTell(ctx context.Context, key podero.Key) (proto.Message, error) {
	message, age, err := c.ask(ctx, key, c.config.TTL)
	if age > 0 {
		tell(ctx, "hit", age)
	}
	return message, err
}

// denies reports whether Podero does not let the credentials read the document any more.
func denies(err error) bool {
	return fault.Is(err, fault.UpstreamForbidden) || fault.Is(err, fault.UpstreamUnauthenticated) || fault.Is(err, fault.UpstreamRefusedCaller)
}

// askOrStale finds the document behind the cache. If that fails for a while, the one in the cache will do.
func (c *Cache) askOrStale(ctx context.Context, key podero.Key, e *entry) (proto.Message, error) {
	hurried := ctx
	if deadline, ok := ctx.Deadline(); ok {
		reserve := min(time.Until(deadline)/10, maxReserve)
		var cancel context.CancelFunc
		hurried, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
		defer cancel()
	}
	message, err := c.askAndTell(hurried, key)
	age := time.Since(e.asked)
	if !passes(err) || age >= e.kept || ctx.Err() != nil {
		return message, err
	}
	c.stale.Add(1)
	tell(ctx, "stale", age)
	return e.message, nil
}

// passes reports whether a failure is one of the moment: UNAVAILABLE, or Podero's slowness.
func passes(err error) bool {
	if err == nil {
		return false
	}
	kind := fault.From(err).Kind
	return kind.Code() == codes.Unavailable || kind == fault.UpstreamTimeout
}

// renew asks for an entry anew in the background, once, and not for one that is to be renewed itself.
func (c *Cache) renew(ctx context.Context, key podero.Key, e *entry, maxAge time.Duration) {
	if !e.renewing.CompareAndSwap(false, true) {
		return
	}
	c.renewal.Go(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(c.closing, cancel)()
		defer e.renewing.Store(false) // a successful one has put another entry in this one's stead
		defer recovery.Log(ctx, c.config.Log)
		_, _, _ = c.ask(ctx, key, maxAge)
	})
}

// tell says in the answer's metadata where it comes from.
func tell(ctx context.Context, state string, age time.Duration) {
	// Fails only outside of a call, which has no metadata.
	_ = grpc.SetHeader(ctx, metadata.MD{StateHeader: {state}, AgeHeader: {strconv.Itoa(int(age.Seconds()))}})
}
