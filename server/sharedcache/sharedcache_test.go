package sharedcache

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

const (
	orgID     = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	testLimit = 20 * time.Second
)

func TestMain(m *testing.M) {
	// go-redis notices within a second that a client is closed whose server can't be reached.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// upstream answers with a user whose ID counts the lookups, or with an error.
type upstream struct {
	mu    sync.Mutex
	asked int
	err   error
	email string
}

func (u *upstream) Find(context.Context, podero.Key) (proto.Message, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	if u.err != nil {
		return nil, u.err
	}
	return &userv1.User{Id: fmt.Sprint(u.asked), OrganizationId: orgID, Email: u.email, ZipCode: proto.String("")}, nil
}

// replica is a Cache that runs, in front of an upstream.
type replica struct {
	*Cache
	upstream *upstream
	log      *logBuffer
}

// logBuffer is a log that a test reads while others write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newReplica(t *testing.T, location string, change func(*Config)) *replica {
	return newReplicaThatWaits(t, testLimit, location, change) // however busy the machine is
}

func newReplicaThatWaits(t *testing.T, wait time.Duration, location string, change func(*Config)) *replica {
	t.Helper()
	r := &replica{upstream: &upstream{email: "peter.schmidt@example.com"}, log: &logBuffer{}}
	config := Config{
		Next:   r.upstream,
		URL:    secret.New(location),
		Roots:  func() (*x509.CertPool, error) { return nil, nil },
		TTL:    time.Minute,
		Secret: func() secret.Text { return secret.New("s3cr3t") },
		Realm:  "here",
		Log:    slog.New(slog.NewTextHandler(r.log, nil)),
	}
	if change != nil {
		change(&config)
	}
	cache, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.Cache = cache
	cache.wait = wait
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		cache.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		cache.Close()
	})
	return r
}

// find looks a user up, and says which one it was, or the reason of the error, and whether it came from Redis.
func (r *replica) find(t *testing.T, key podero.Key) string {
	t.Helper()
	message, age, err := r.FindWithin(t.Context(), key, time.Minute)
	var got string
	if err != nil {
		got = fault.From(err).Kind.Reason()
	} else {
		got = message.(*userv1.User).GetId()
	}
	if age > 0 {
		got += " shared"
	}
	return got
}

func (r *replica) expect(t *testing.T, key podero.Key, want string) {
	t.Helper()
	if got := r.find(t, key); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(testLimit); !holds(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// fill makes a replica ask for a user, and waits until it is shared.
func (r *replica) fill(t *testing.T, server *miniredis.Miniredis, key podero.Key) (name string) {
	t.Helper()
	name = r.place(t, key).name
	r.find(t, key)
	await(t, "an entry", func() bool { return server.Exists(name) })
	return name
}

// place returns where the answer of a lookup is kept.
func (r *replica) place(t *testing.T, key podero.Key) place {
	t.Helper()
	place, err := r.sealer.Load().place(key)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func key(externalID string) podero.Key { return podero.UserByExternalID(orgID, externalID, false) }

func TestWhatOneReplicaFetchedAnotherFinds(t *testing.T) {
	server := miniredis.RunT(t)
	a, b := newReplica(t, "redis://"+server.Addr(), nil), newReplica(t, "redis://"+server.Addr(), nil)
	name := a.fill(t, server, key("1"))
	b.expect(t, key("1"), "1 shared")
	if message, _, _ := b.FindWithin(t.Context(), key("1"), time.Minute); !proto.Equal(message, &userv1.User{
		Id: "1", OrganizationId: orgID, Email: "peter.schmidt@example.com", ZipCode: proto.String(""),
	}) {
		t.Errorf("another user: %v", message)
	}
	if b.upstream.asked != 0 || b.Hits() != 2 || b.Misses() != 0 || a.Misses() != 1 || a.Failures()+b.Failures() != 0 {
		t.Errorf("asked %d times, %d hits, %d misses", b.upstream.asked, b.Hits(), b.Misses())
	}
	if ttl := server.TTL(name); ttl <= 0 || ttl > time.Minute {
		t.Errorf("kept for %v", ttl)
	}
}

func TestThatThereIsNoUserIsSharedFor5Seconds(t *testing.T) {
	server := miniredis.RunT(t)
	a, b := newReplica(t, "redis://"+server.Addr(), nil), newReplica(t, "redis://"+server.Addr(), nil)
	a.upstream.err = podero.NotFound(key("1"))
	name := a.fill(t, server, key("1"))
	b.expect(t, key("1"), "USER_NOT_FOUND shared")
	_, _, err := b.FindWithin(t.Context(), key("1"), time.Minute)
	if want := podero.NotFound(key("1")); fmt.Sprintf("%+v", fault.From(err)) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v, want %+v", err, want)
	}
	if ttl := server.TTL(name); ttl <= 0 || ttl > 5*time.Second {
		t.Errorf("kept for %v", ttl)
	}
}

// TestAnEntryIsNeverYoungerThanItIs has clocks that go wrong, and an expiry that somebody changed.
func TestAnEntryIsNeverYoungerThanItIs(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	r.upstream.err = fault.New(fault.UpstreamUnavailable, nil) // so that nothing else is written
	place := r.place(t, key("1"))
	for name, c := range map[string]struct {
		asked time.Duration // ago, by the clock of who asked
		left  time.Duration // by Redis's
		least time.Duration // 0 for a miss
	}{
		"as it should be":            {20 * time.Second, 40 * time.Second, 20 * time.Second},
		"a clock ahead":              {-time.Hour, 40 * time.Second, 20 * time.Second},
		"a clock behind":             {30 * time.Second, 40 * time.Second, 30 * time.Second},
		"a clock far behind":         {time.Hour, 40 * time.Second, 0},
		"an expiry that was put off": {30 * time.Second, time.Hour, 30 * time.Second},
		"one put off for too long":   {time.Minute, time.Hour, 0},
		"no expiry":                  {time.Second, 0, 0},
	} {
		sealed, err := place.seal(entry{time.Now().Add(-c.asked), time.Minute, orgID, &userv1.User{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Set(place.name, string(sealed)); err != nil {
			t.Fatal(err)
		}
		server.SetTTL(place.name, c.left)
		_, age, _ := r.FindWithin(t.Context(), key("1"), time.Hour)
		if (age == 0) != (c.least == 0) || age < c.least || age > c.least+testLimit {
			t.Errorf("%s: age %v, want %v", name, age, c.least)
		}
	}
	if _, age, _ := r.FindWithin(t.Context(), key("1"), time.Millisecond); age != 0 {
		t.Error("an entry older than what was asked for")
	}
}

func TestWhatDiffersIsKeptApart(t *testing.T) {
	server := miniredis.RunT(t)
	a := newReplica(t, "redis://"+server.Addr(), nil)
	a.fill(t, server, key("1"))
	other := "016b78a7-0c7c-4241-a277-015c3ad3cb91"
	for name, k := range map[string]podero.Key{
		"ID": key("2"), "include_deleted": podero.UserByExternalID(orgID, "1", true), "organization": podero.UserByExternalID(other, "1", false),
		"resource": {Resource: &podero.Resource{Template: "/another", Message: (*userv1.User)(nil)}, OrgID: orgID, Path: key("1").Path},
	} {
		if got := a.find(t, k); strings.Contains(got, "shared") {
			t.Errorf("another %s: %s", name, got)
		}
	}
	for name, change := range map[string]func(*Config){
		"secret": func(c *Config) { c.Secret = func() secret.Text { return secret.New("rotated") } },
		"realm":  func(c *Config) { c.Realm = "there" },
	} {
		if got := newReplica(t, "redis://"+server.Addr(), change).find(t, key("1")); got != "1" {
			t.Errorf("another %s: %s", name, got)
		}
	}
}

func TestARotatedSecretCountsWithoutARestart(t *testing.T) {
	server := miniredis.RunT(t)
	current := secret.New("old")
	r := newReplica(t, "redis://"+server.Addr(), func(c *Config) {
		c.Secret = func() secret.Text { return current }
	})
	r.fill(t, server, key("1"))
	r.rekey()
	r.expect(t, key("1"), "1 shared")
	current = secret.New("new")
	r.rekey()
	r.expect(t, key("1"), "2")
}

// TestRubbishIsAMiss puts at a user's place what does not belong there.
func TestRubbishIsAMiss(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	mine, theirs := r.fill(t, server, key("1")), r.fill(t, server, key("2"))
	sealed, err := server.Get(mine)
	if err != nil {
		t.Fatal(err)
	}
	another, err := server.Get(theirs)
	if err != nil {
		t.Fatal(err)
	}
	place := r.place(t, key("1"))
	foreign, err := place.seal(entry{time.Now(), time.Minute, "016b78a7-0c7c-4241-a277-015c3ad3cb91", &userv1.User{Id: "foreign"}})
	if err != nil {
		t.Fatal(err)
	}
	short := place.aead.Seal(nil, nil, []byte("x"), []byte(mine))
	flipped := []byte(sealed)
	flipped[len(flipped)/2] ^= 1
	for name, value := range map[string]string{
		"text": "rubbish", "another place's": another, "cut": sealed[:len(sealed)-1], "longer": sealed + "x", "flipped": string(flipped),
		"another organization's": string(foreign), "short": string(short), "large": strings.Repeat("x", 1<<20),
	} {
		before := r.Failures()
		if err := server.Set(mine, value); err != nil {
			t.Fatal(err)
		}
		server.SetTTL(mine, time.Minute)
		if got := r.find(t, key("1")); strings.Contains(got, "shared") || strings.Contains(got, "foreign") {
			t.Errorf("%s: %s", name, got)
		}
		if r.Failures() != before+1 {
			t.Errorf("%s is not counted", name)
		}
		await(t, "a good entry instead", func() bool { got, _ := server.Get(mine); return got != value })
		if got := r.find(t, key("1")); !strings.Contains(got, "shared") {
			t.Errorf("after %s: %s", name, got)
		}
	}
	server.Del(mine)
	server.HSet(mine, "a", "b")
	if got := r.find(t, key("1")); strings.Contains(got, "shared") {
		t.Errorf("a hash: %s", got)
	}
}

func TestNobodyCanReadTheDatabase(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	r.fill(t, server, key("134681893870"))
	dump := server.Dump()
	name := server.Keys()[0]
	value, err := server.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range []string{"peter", "134681893870", orgID, "by-ext-id", "s3cr3t"} {
		if strings.Contains(dump, plain) || strings.Contains(value, plain) {
			t.Errorf("%s is in Redis", plain)
		}
	}
	r.upstream.email = "" // another answer, another nonce
	server.Del(name)
	r.fill(t, server, key("134681893870"))
	if again, err := server.Get(name); err != nil || again[:12] == value[:12] {
		t.Errorf("the same nonce twice, %v", err)
	}
}

func TestAnAnswerThatDeniesTheUserRemovesTheEntry(t *testing.T) {
	for _, c := range []struct {
		kind fault.Kind
		kept bool
	}{
		{fault.UpstreamForbidden, false}, {fault.UpstreamUnauthenticated, false}, {fault.UpstreamRejectedRequest, false}, {fault.UpstreamContractViolation, false},
		{fault.UpstreamUnavailable, true}, {fault.UpstreamTimeout, true}, {fault.UpstreamRateLimited, true}, {fault.TokenRejected, true},
	} {
		server := miniredis.RunT(t)
		r := newReplica(t, "redis://"+server.Addr(), nil)
		name := r.fill(t, server, key("1"))
		r.upstream.err = fault.New(c.kind, nil)
		if _, _, err := r.FindWithin(t.Context(), key("1"), time.Nanosecond); !fault.Is(err, c.kind) { // as a renewal does
			t.Errorf("%v", err)
		}
		if c.kept {
			r.upstream.err = nil
			r.fill(t, server, key("2")) // exchanges are done in about the order in which they are asked for
			if !server.Exists(name) {
				t.Errorf("removed after %s", c.kind.Reason())
			}
			continue
		}
		await(t, "removal after "+c.kind.Reason(), func() bool { return !server.Exists(name) })
	}
}

// slow is an upstream that responds once it is released.
type slow struct {
	upstream
	release chan struct{}
}

func (s *slow) Find(ctx context.Context, key podero.Key) (proto.Message, error) {
	<-s.release
	return s.upstream.Find(ctx, key)
}

func TestIdenticalMissesCostThreeCommands(t *testing.T) {
	server := miniredis.RunT(t)
	next := &slow{release: make(chan struct{})}
	r := newReplica(t, "redis://"+server.Addr(), func(c *Config) { c.Next = next })
	var callers sync.WaitGroup
	for i := range 100 {
		callers.Go(func() {
			time.Sleep(time.Duration(i) * time.Millisecond / 2) // not all before the read has ended
			r.find(t, key("1"))
		})
	}
	await(t, "misses", func() bool { return r.Misses() == 100 })
	close(next.release)
	callers.Wait()
	await(t, "an entry", func() bool { return server.Exists(r.place(t, key("1")).name) })
	// A connection begins with one of its own.
	if got := server.CommandCount() - server.TotalConnectionCount(); got != 3 { // GETRANGE, PTTL, SET
		t.Errorf("%d commands, want 3", got)
	}
	if got := r.find(t, key("1")); !strings.HasSuffix(got, " shared") {
		t.Errorf("%s, want an entry", got)
	}
}

// TestACallerWhoLeavesTakesNobodyAlong has one caller who leaves while Redis is read, and one who stays.
func TestACallerWhoLeavesTakesNobodyAlong(t *testing.T) {
	silent := listen(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	r := newReplicaThatWaits(t, 200*time.Millisecond, "redis://"+silent, nil)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, _, err := r.FindWithin(ctx, key("1"), time.Minute)
		left <- err
	}()
	await(t, "a reading", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.readings) == 1
	})
	stayed := make(chan string, 1)
	go func() { stayed <- r.find(t, key("1")) }()
	leave()
	if err := <-left; !fault.Is(err, fault.CallerCancelled) {
		t.Errorf("error %v, want CALLER_CANCELLED", err)
	}
	if got := <-stayed; got != "1" {
		t.Errorf("the one who stayed got %s, want 1", got)
	}
}

// TestADenialDuringAnOutageIsNotForgotten has two replicas, of which one learns while Redis is down that a user may not be
// read any longer.
func TestADenialDuringAnOutageIsNotForgotten(t *testing.T) {
	server := miniredis.RunT(t)
	a, b := newReplica(t, "redis://"+server.Addr(), nil), newReplica(t, "redis://"+server.Addr(), nil)
	name := a.fill(t, server, key("1"))
	b.expect(t, key("1"), "1 shared")
	server.SetError("LOADING Redis is loading the dataset in memory")
	a.upstream.err = fault.New(fault.UpstreamForbidden, nil)
	b.upstream.err = a.upstream.err
	for range maxFailures + 1 { // until Redis is left alone
		a.expect(t, key("1"), "UPSTREAM_FORBIDDEN")
	}
	server.SetError("")
	for server.Exists(name) {
		if got := a.find(t, key("1")); got != "UPSTREAM_FORBIDDEN" {
			t.Fatalf("%s, want UPSTREAM_FORBIDDEN", got)
		}
		time.Sleep(time.Millisecond)
	}
	b.expect(t, key("1"), "UPSTREAM_FORBIDDEN")
	await(t, "no pending deletion", func() bool { return !a.deletions.has(name) })
	a.upstream.err = nil
	await(t, "a new entry", func() bool { return strings.HasSuffix(a.find(t, key("1")), " shared") })
}

// TestTooManyDenialsDuringAnOutage loses the names of some entries, and so believes none that is older.
func TestTooManyDenialsDuringAnOutage(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	r.fill(t, server, key("1"))
	r.fill(t, server, key("2"))
	time.Sleep(2 * time.Millisecond) // an entry's age is known to the millisecond
	r.deletions.add(r.place(t, key("1")).name)
	for i := range maxDeletions {
		r.deletions.add(fmt.Sprint(i))
	}
	if got := len(r.deletions.pending); got > maxDeletions {
		t.Errorf("%d pending deletions, want %d at most", got, maxDeletions)
	}
	r.expect(t, key("1"), "3")
	r.expect(t, key("2"), "4")
	await(t, "a younger entry", func() bool { return strings.Contains(r.find(t, key("1")), "shared") })
}

func TestAnOlderResponseIsNotWrittenAfterADenial(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	place := r.place(t, key("1"))
	fetched := time.Now()
	server.SetError("LOADING Redis is loading the dataset in memory")
	r.deletions.add(place.name)
	server.SetError("")
	r.write(place, entry{fetched, time.Minute, orgID, &userv1.User{}})
	r.fill(t, server, key("2")) // exchanges are done in about the order in which they are asked for
	if server.Exists(place.name) {
		t.Error("a response from before the denial was written")
	}
}

func TestWhatIsTooLargeIsNotShared(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	r.upstream.email = strings.Repeat("x", maxValue)
	r.find(t, key("large"))
	r.upstream.email = ""
	r.fill(t, server, key("small"))
	if keys := server.Keys(); len(keys) != 1 {
		t.Errorf("%d entries", len(keys))
	}
}

// listen accepts connections and hands them to somebody.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// TestARedisThatFailsDelaysHardlyAnyLookup has a hundred lookups in front of each of them.
func TestARedisThatFailsDelaysHardlyAnyLookup(t *testing.T) {
	closed := listen(t, func(net.Conn) {})
	silent := listen(t, func(conn net.Conn) {
		buffer := make([]byte, 1024)
		for {
			if _, err := conn.Read(buffer); err != nil {
				_ = conn.Close()
				return
			}
		}
	})
	talking := listen(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		_ = conn.Close()
	})
	refusing := miniredis.RunT(t)
	refusing.SetError("LOADING Redis is loading the dataset in memory")
	protected := miniredis.RunT(t)
	protected.RequireAuth("another")
	for name, location := range map[string]string{
		"nothing there": "redis://127.0.0.1:1", "hangs": "redis://" + silent, "closes": "redis://" + closed, "no Redis": "redis://" + talking,
		"TLS that hangs": "rediss://" + silent, "loading": "redis://" + refusing.Addr(), "wrong password": "redis://:hunter2@" + protected.Addr(),
		"a cluster that hangs": "redis://" + silent + "?addr=" + silent, "no cluster": "redis://127.0.0.1:1?addr=127.0.0.1:2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplicaThatWaits(t, readTimeout, location, nil)
			begun := time.Now()
			for i := range 100 {
				at := time.Now()
				r.expect(t, key(fmt.Sprint(i)), fmt.Sprint(i+1))
				if took := time.Since(at); took > exchangeTimeout/2 {
					t.Errorf("a lookup took %v", took)
				}
			}
			// Some find out, with what they would have written; one asks again each second.
			if limit := 2 * (maxFailures + int64(time.Since(begun)/pauseTime) + 1); r.Failures() > limit {
				t.Errorf("%d exchanges, want at most %d", r.Failures(), limit)
			}
			if got := r.log.String(); strings.Count(got, "the shared cache can't be used") != 1 || strings.Contains(got, "hunter2") {
				t.Errorf("the log says %s", got)
			}
			if r.Misses() != 100 || r.Failures() < maxFailures {
				t.Errorf("%d misses, %d failures", r.Misses(), r.Failures())
			}
		})
	}
}

func TestGoRedisLogsToTheServiceLogWithoutValues(t *testing.T) {
	r := newReplica(t, "redis://:hunter2@127.0.0.1:1", nil)
	r.expect(t, key("1"), "1")
	await(t, "a message of go-redis", func() bool { return strings.Contains(r.log.String(), "library=go-redis") })
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "library=go-redis") && (strings.Contains(line, "127.0.0.1") || !strings.Contains(line, "(*net.OpError)")) {
			t.Errorf("%s, want types instead of values", line)
		}
	}
}

func TestARedisThatTakesNoEntriesCanBeReadStill(t *testing.T) {
	for _, refusal := range []string{"OOM command not allowed when used memory > 'maxmemory'.", "READONLY You can't write against a read only replica."} {
		server := miniredis.RunT(t)
		r := newReplica(t, "redis://"+server.Addr(), nil)
		r.fill(t, server, key("1"))
		server.SetError(refusal)
		r.write(r.place(t, key("2")), entry{time.Now(), time.Minute, orgID, nil})
		await(t, "a failure", func() bool { return r.Failures() > 0 })
		server.SetError("")
		r.expect(t, key("1"), "1 shared")
	}
}

func TestARedisThatComesBackIsUsedAgain(t *testing.T) {
	server := miniredis.RunT(t)
	r := newReplica(t, "redis://"+server.Addr(), nil)
	r.fill(t, server, key("1"))
	server.Close()
	for i := range 20 {
		r.expect(t, key(fmt.Sprint("down", i)), fmt.Sprint(i+2))
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	await(t, "a hit", func() bool { return strings.Contains(r.find(t, key("1")), "shared") })
	if got := r.log.String(); strings.Count(got, "the shared cache") != 2 || !strings.Contains(got, "the shared cache is used again") {
		t.Errorf("the log says %s", got)
	}
}

// TestAnEntryOfAnotherSchemaIsAMiss has a replica of a build in which users have no e-mail address, as if the field had
// come with a later version, and one in which a role has another name.
func TestAnEntryOfAnotherSchemaIsAMiss(t *testing.T) {
	for name, change := range map[string]func(*descriptorpb.FileDescriptorProto){
		"the same": func(*descriptorpb.FileDescriptorProto) {},
		"a field less": func(file *descriptorpb.FileDescriptorProto) {
			for _, message := range file.GetMessageType() {
				message.Field = slices.DeleteFunc(message.Field, func(f *descriptorpb.FieldDescriptorProto) bool { return f.GetName() == "email" })
			}
		},
		"another enum": func(file *descriptorpb.FileDescriptorProto) {
			file.EnumType[0].Value[1].Name = proto.String("ROLE_CHIEF")
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := protodesc.ToFileDescriptorProto((*userv1.User)(nil).ProtoReflect().Descriptor().ParentFile())
			change(file)
			built, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
			if err != nil {
				t.Fatal(err)
			}
			lookup := key("1")
			resource := *lookup.Resource
			resource.Message = dynamicpb.NewMessage(built.Messages().ByName("User"))
			lookup.Resource = &resource
			server := miniredis.RunT(t)
			a, b := newReplica(t, "redis://"+server.Addr(), nil), newReplica(t, "redis://"+server.Addr(), nil)
			a.fill(t, server, key("1"))
			_, age, err := b.FindWithin(t.Context(), lookup, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := age > 0, name == "the same"; got != want {
				t.Errorf("found is %v, want %v", got, want)
			}
		})
	}
}
