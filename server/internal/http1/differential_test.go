package http1_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/podero-facade/server/internal/http1"
)

// maxHeader is short, so that a few bytes are a header that is too long.
const maxHeader = 8 << 10

// outcome is everything that a caller gets of a request.
type outcome struct {
	refused      bool // whether there is an error instead of a response
	reason       string
	status       int
	line         string // the status line but for the number
	header       http.Header
	trailer      http.Header
	size         int64
	uncompressed bool
	close        bool
	body         string
	cut          bool // whether the body ends in an error
}

// String has what a table says of an outcome.
func (o *outcome) String() string {
	if o.refused {
		return "refused"
	}
	s := fmt.Sprintf("%d %q", o.status, o.body)
	if o.cut {
		s += ", cut"
	}
	return s
}

// differs says in what one outcome is not like another.
func (o *outcome) differs(from *outcome) string {
	var in []string
	for what, different := range map[string]bool{
		"error":        o.refused != from.refused,
		"status":       o.status != from.status || o.line != from.line,
		"headers":      !maps.EqualFunc(o.header, from.header, slices.Equal),
		"trailers":     !maps.EqualFunc(o.trailer, from.trailer, slices.Equal),
		"size":         o.size != from.size,
		"uncompressed": o.uncompressed != from.uncompressed,
		"close":        o.close != from.close,
		"body":         o.body != from.body,
		"end":          o.cut != from.cut,
	} {
		if different {
			in = append(in, what)
		}
	}
	slices.Sort(in)
	return strings.Join(in, ", ")
}

// ask makes a request and returns its outcome, once its body is closed.
func ask(t testing.TB, transport http.RoundTripper, target string) *outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	response, err := get(ctx, t, transport, target, nil)
	if ctx.Err() != nil {
		t.Fatal("the header does not come to an end")
	}
	if err != nil {
		return &outcome{refused: true, reason: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if ctx.Err() != nil {
		t.Fatal("the body does not come to an end")
	}
	return &outcome{
		status: response.StatusCode, line: response.Proto + response.Status, header: response.Header, trailer: response.Trailer,
		size: response.ContentLength, uncompressed: response.Uncompressed, close: response.Close,
		body: string(body), cut: err != nil,
	}
}

// player is a server that responds to /given with given bytes, and a known response to any other
// request.
type player struct {
	*peer
	known string
	given atomic.Pointer[string]
	holds atomic.Bool // whether a connection goes on after the given bytes
	plain *http.Transport
}

func newPlayer(t testing.TB) *player {
	p := &player{known: rand.Text()}
	p.peer = newPeer(t, false, func(l *link) {
		for {
			header, ok := l.next()
			if !ok {
				return
			}
			if !strings.HasPrefix(header, "GET /given ") {
				l.write(okResponse(p.known))
				continue
			}
			l.write(*p.given.Load())
			if !p.holds.Load() {
				_ = l.Close()
				return
			}
		}
	})
	p.plain = &http.Transport{
		DisableKeepAlives:      true, // or it may reuse a connection that is ending
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	t.Cleanup(p.plain.CloseIdleConnections)
	return p
}

// newOurs returns a transport without connections.
func (p *player) newOurs(t testing.TB) *http1.Transport {
	t.Helper()
	config := newConfig(p.url)
	config.MaxHeaderBytes = maxHeader
	transport, err := http1.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// play returns the outcome with net/http and ours.
func (p *player) play(t testing.TB, raw string) (theirs, ours *outcome) {
	t.Helper()
	p.given.Store(&raw)
	p.holds.Store(false)
	theirs = ask(t, p.plain, p.url+"/given")
	transport := p.newOurs(t)
	ours = ask(t, transport, p.url+"/given")
	transport.Close()
	if !ours.refused && !ours.cut && !ours.close && ours.status >= http.StatusOK {
		// It says itself where it ends, so that it does also when the connection goes on.
		p.holds.Store(true)
		transport = p.newOurs(t)
		defer transport.Close()
		for range 2 {
			if held := ask(t, transport, p.url+"/given"); held.differs(ours) != "" {
				t.Errorf("%v if the connection ends, %v if it goes on", ours, held)
			}
			if next := ask(t, transport, p.url+"/next"); next.body != p.known || next.refused || next.cut {
				t.Fatalf("the response to the next request is %v", next)
			}
		}
	}
	return theirs, ours
}

func TestResponsesMeanTheSameToNetHTTP(t *testing.T) {
	p := newPlayer(t)
	seen := make(map[string]bool)
	for _, c := range rawResponses {
		t.Run(c.name, func(t *testing.T) {
			if seen[c.raw] {
				t.Error("the same as another one")
			}
			seen[c.raw] = true
			theirs, ours := p.play(t, c.raw)
			if got := ours.String(); got != c.want {
				t.Errorf("%.100s, want %.100s", got, c.want)
			}
			if got := ours.differs(theirs); got != c.differs {
				t.Errorf("ours is %.100v, net/http's %.100v; they differ in %q, want %q", ours, theirs, got, c.differs)
			}
		})
	}
}

func FuzzResponse(f *testing.F) {
	for _, c := range rawResponses {
		f.Add([]byte(c.raw))
	}
	p := newPlayer(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 16<<10 { // more may not come all at once
			return
		}
		theirs, ours := p.play(t, string(raw))
		if strings.Contains(ours.reason, "1xx") || ours.status == http.StatusSwitchingProtocols && theirs.status == ours.status {
			return // see the table
		}
		if in := ours.differs(theirs); in != "" {
			t.Errorf("ours is %v, net/http's %v; they differ in %s", ours, theirs, in)
		}
	})
}
