package cache

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

// upstream answers with a user whose ID counts the lookups, or with an error, after some time.
type upstream struct {
	panics bool
	asked  int
	err    error
	takes  time.Duration
}

func (u *upstream) Find(ctx context.Context, _ podero.Key) (proto.Message, error) {
	u.asked++
	number := u.asked
	select {
	case <-time.After(u.takes):
	case <-ctx.Done():
		return nil, fault.FromContext(ctx)
	}
	if u.panics {
		panic("a bug")
	}
	if u.err != nil {
		return nil, u.err
	}
	return &userv1.User{Id: fmt.Sprint(number)}, nil
}

func newCache(t *testing.T, u *upstream, ttl, stale time.Duration) *Cache {
	t.Helper()
	c, err := New(Config{Next: Fresh(u), TTL: ttl, StaleIfError: stale, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// stream takes the metadata of an answer.
type stream struct{ header metadata.MD }

func (s *stream) Method() string { return "" }
func (s *stream) SetHeader(md metadata.MD) error {
	s.header = metadata.Join(s.header, md)
	return nil
}
func (s *stream) SendHeader(metadata.MD) error { return nil }
func (s *stream) SetTrailer(metadata.MD) error { return nil }

// lookup returns the ID or the reason that a caller with some time gets, and what it is told of the cache.
func lookup(t *testing.T, c *Cache, key podero.Key, patience time.Duration) string {
	t.Helper()
	sent := &stream{}
	ctx, cancel := context.WithTimeout(grpc.NewContextWithServerTransportStream(t.Context(), sent), patience)
	defer cancel()
	found, err := c.Find(ctx, key)
	user, _ := found.(*userv1.User)
	what := user.GetId()
	if err != nil {
		what = fault.From(err).Kind.Reason()
	}
	return strings.TrimSpace(what + " " + strings.Join(append(sent.header.Get("x-cache"), sent.header.Get("age")...), " "))
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var (
	key     = podero.Key{Resource: podero.User, OrgID: "o", Path: "x"}
	down    = fault.New(fault.UpstreamUnavailable, nil)
	missing = fault.New(fault.UserNotFound, nil)
)

func TestAnAnswerIsReusedForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		c := newCache(t, u, time.Minute, 0)
		expect(t, lookup(t, c, key, time.Second), "1")
		time.Sleep(30 * time.Second)
		expect(t, lookup(t, c, key, time.Second), "1 hit 30")
		time.Sleep(30 * time.Second)
		expect(t, lookup(t, c, key, time.Second), "2")
	})
}

func TestAnEntryInUseIsRenewedBeforeItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{takes: time.Second}
		c := newCache(t, u, time.Minute, 0)
		lookup(t, c, key, 2*time.Second)
		for range 600 {
			time.Sleep(time.Second)
			begun := time.Now()
			if got := lookup(t, c, key, 2*time.Second); !strings.Contains(got, "hit") || time.Since(begun) != 0 {
				t.Fatalf("%s after %v", got, time.Since(begun))
			}
		}
		if u.asked < 12 || u.asked > 14 {
			t.Errorf("asked %d times in 10 minutes, want once in 45 s or so", u.asked)
		}
	})
}

// TestARenewalThatPanicsEndsNothing has one that does, and a later one that does not.
func TestARenewalThatPanicsEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		c := newCache(t, u, 100*time.Second, 0)
		lookup(t, c, key, time.Minute)
		time.Sleep(80 * time.Second)
		u.panics = true
		lookup(t, c, key, time.Minute) // begins the renewal
		synctest.Wait()
		u.panics = false
		lookup(t, c, key, time.Minute) // and so does the next one
		synctest.Wait()
		time.Sleep(30 * time.Second)
		if got := lookup(t, c, key, time.Minute); !strings.HasPrefix(got, "3 hit") {
			t.Errorf("got %q, want the document of the third request", got)
		}
	})
}

func TestARenewalThatFailsIsInvisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		c := newCache(t, u, time.Minute, 0)
		lookup(t, c, key, time.Second)
		u.err = down
		time.Sleep(50 * time.Second)
		expect(t, lookup(t, c, key, time.Second), "1 hit 50")
		synctest.Wait()
		expect(t, lookup(t, c, key, time.Second), "1 hit 50")
		synctest.Wait()
		if u.asked != 3 {
			t.Errorf("asked %d times, want a renewal for each call", u.asked)
		}
		time.Sleep(10 * time.Second)
		expect(t, lookup(t, c, key, time.Second), "UPSTREAM_UNAVAILABLE")
	})
}

func TestThatThereIsNoUserIsKeptFor5Seconds(t *testing.T) {
	for ttl, kept := range map[time.Duration]time.Duration{time.Minute: 5 * time.Second, 2 * time.Second: 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{err: missing}
			c := newCache(t, u, ttl, time.Hour)
			expect(t, lookup(t, c, key, time.Second), "USER_NOT_FOUND")
			time.Sleep(kept / 2)
			expect(t, lookup(t, c, key, time.Second), fmt.Sprintf("USER_NOT_FOUND hit %d", int(kept.Seconds()/2)))
			u.err = nil
			time.Sleep(kept / 2)
			if got := lookup(t, c, key, time.Second); got != fmt.Sprint(u.asked) {
				t.Errorf("after %v: %s", kept, got)
			}
		})
	}
}

func TestOtherErrorsAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{err: down}
		c := newCache(t, u, time.Minute, time.Hour)
		expect(t, lookup(t, c, key, time.Second), "UPSTREAM_UNAVAILABLE")
		expect(t, lookup(t, c, key, time.Second), "UPSTREAM_UNAVAILABLE")
		if u.asked != 2 {
			t.Errorf("asked %d times", u.asked)
		}
	})
}

func TestAStaleUserIsBetterThanNone(t *testing.T) {
	for _, kind := range []fault.Kind{fault.UpstreamUnavailable, fault.UpstreamCircuitOpen, fault.TokenUnavailable, fault.UpstreamTimeout} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{}
			c := newCache(t, u, time.Minute, 10*time.Minute)
			lookup(t, c, key, time.Second)
			u.err = fault.New(kind, nil)
			time.Sleep(5 * time.Minute)
			expect(t, lookup(t, c, key, time.Second), "1 stale 300")
			time.Sleep(5*time.Minute + 59*time.Second)
			expect(t, lookup(t, c, key, time.Second), "1 stale 659")
			time.Sleep(time.Second)
			expect(t, lookup(t, c, key, time.Second), kind.Reason())
		})
	}
}

func TestAStaleUserComesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		c := newCache(t, u, time.Minute, 10*time.Minute)
		lookup(t, c, key, time.Second)
		u.takes = time.Hour
		time.Sleep(2 * time.Minute)
		begun := time.Now()
		expect(t, lookup(t, c, key, 300*time.Millisecond), "1 stale 120")
		if took := time.Since(begun); took != 270*time.Millisecond {
			t.Errorf("took %v of 300 ms", took)
		}
	})
}

func TestWhatPoderoKnowsBetterIsNotAnsweredWithAStaleUser(t *testing.T) {
	for _, kind := range []fault.Kind{fault.UserNotFound, fault.UpstreamForbidden, fault.UpstreamContractViolation, fault.TokenRejected, fault.UpstreamRateLimited, fault.Overloaded} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{}
			c := newCache(t, u, time.Minute, 10*time.Minute)
			lookup(t, c, key, time.Second)
			u.err = fault.New(kind, nil)
			time.Sleep(2 * time.Minute)
			expect(t, lookup(t, c, key, time.Second), kind.Reason())
		})
	}
}

// TestADocumentThatPoderoDeniesIsForgotten denies a renewal, or a lookup after its time, and then takes Podero down.
func TestADocumentThatPoderoDeniesIsForgotten(t *testing.T) {
	for _, kind := range []fault.Kind{fault.UpstreamForbidden, fault.UpstreamUnauthenticated, fault.UpstreamRefusedCaller, fault.UserNotFound} {
		for _, age := range []time.Duration{50 * time.Second, 2 * time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{}
				c := newCache(t, u, time.Minute, time.Hour)
				lookup(t, c, key, time.Second)
				u.err = fault.New(kind, nil)
				time.Sleep(age)
				lookup(t, c, key, time.Second)
				synctest.Wait()
				u.err = down
				time.Sleep(10 * time.Second)
				expect(t, lookup(t, c, key, time.Second), "UPSTREAM_UNAVAILABLE")
			})
		}
	}
}

func TestClosingWaitsForNoRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		c := newCache(t, u, time.Minute, 0)
		lookup(t, c, key, time.Second)
		u.takes = time.Hour
		time.Sleep(50 * time.Second)
		expect(t, lookup(t, c, key, time.Second), "1 hit 50")
		synctest.Wait()
		begun := time.Now()
		c.Close()
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestNothingIsSharedAcrossKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
		c := newCache(t, u, time.Minute, 0)
		for i, key := range []podero.Key{
			{OrgID: "a", Path: "x"}, {OrgID: "b", Path: "x"}, {OrgID: "a", Path: "y"},
			{OrgID: "a", Path: "x?include_deleted=true"}, {OrgID: "a", Path: "x", Token: secret.New("t")},
		} {
			key.Resource = podero.User
			expect(t, lookup(t, c, key, time.Second), fmt.Sprint(i+1))
		}
	})
}

// shared is a Source with an answer that is some time old.
type shared struct {
	age, maxAge time.Duration
}

func (s *shared) FindWithin(_ context.Context, _ podero.Key, maxAge time.Duration) (proto.Message, time.Duration, error) {
	s.maxAge = maxAge
	return &userv1.User{Id: "1"}, s.age, nil
}

func TestAnAnswerThatIsOldAlreadyIsKeptForTheRestOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &shared{age: 20 * time.Second}
		c, err := New(Config{Next: source, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		expect(t, lookup(t, c, key, time.Second), "1 hit 20")
		if source.maxAge != time.Minute {
			t.Errorf("asked for less than %v", source.maxAge)
		}
		time.Sleep(20 * time.Second)
		expect(t, lookup(t, c, key, time.Second), "1 hit 40")
		time.Sleep(10 * time.Second)
		source.age = 0
		expect(t, lookup(t, c, key, time.Second), "1 hit 50")
		synctest.Wait()
		if source.maxAge != 45*time.Second {
			t.Errorf("renewed with less than %v", source.maxAge)
		}
		expect(t, lookup(t, c, key, time.Second), "1 hit 0")
		time.Sleep(time.Minute)
		expect(t, lookup(t, c, key, time.Second), "1") // and of now
	})
}
