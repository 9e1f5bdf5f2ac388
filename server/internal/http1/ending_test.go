package http1_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"example.com/podero-facade/server/internal/http1"
)

// endings are how a context ends: at once when told to, or at a time.
var endings = map[string]func(context.Context) (ctx context.Context, end func(), want error){
	"cancel": func(parent context.Context) (context.Context, func(), error) {
		ctx, cancel := context.WithCancel(parent)
		return ctx, cancel, context.Canceled
	},
	"cancel with a cause": func(parent context.Context) (context.Context, func(), error) {
		cause := errors.New("the cause")
		ctx, cancel := context.WithCancelCause(parent)
		return ctx, func() { cancel(cause) }, cause
	},
	"deadline": func(parent context.Context) (context.Context, func(), error) {
		ctx, cancel := context.WithTimeout(parent, 50*time.Millisecond)
		context.AfterFunc(ctx, cancel)
		return ctx, func() {}, context.DeadlineExceeded
	},
	"deadline with a cause": func(parent context.Context) (context.Context, func(), error) {
		cause := errors.New("the cause")
		ctx, cancel := context.WithTimeoutCause(parent, 50*time.Millisecond, cause)
		context.AfterFunc(ctx, cancel)
		return ctx, func() {}, cause
	},
}

func TestAContextThatEndsIsTheReasonAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		raw       string // what the server sends, with nothing after it
		secure    bool
		dial      bool // whether it is the dial that does not end
		silent    bool // whether it is the handshake that does not end
		responded bool // whether the response has a header
	}{
		"a dial":                        {dial: true},
		"a handshake":                   {secure: true, silent: true},
		"no header":                     {raw: ""},
		"no header over TLS":            {raw: "", secure: true},
		"half a status line":            {raw: "HTTP/1.1 2"},
		"half a header":                 {raw: ok + "Content-Length: 5\r\n"},
		"a 103":                         {raw: "HTTP/1.1 103 Early Hints\r\n\r\n"},
		"no body":                       {raw: ok + "Content-Length: 5\r\n\r\n", responded: true},
		"half a body":                   {raw: ok + "Content-Length: 5\r\n\r\nhel", responded: true},
		"half a body over TLS":          {raw: ok + "Content-Length: 5\r\n\r\nhel", secure: true, responded: true},
		"half a chunk":                  {raw: chunked + "5\r\nhel", responded: true},
		"no last chunk":                 {raw: chunked + "5\r\nhello\r\n", responded: true},
		"no trailer":                    {raw: chunked + "5\r\nhello\r\n0\r\n", responded: true},
		"a body until the end":          {raw: ok + "\r\nhello", responded: true},
		"a body until the end over TLS": {raw: ok + "\r\nhello", secure: true, responded: true},
	} {
		for way, begin := range endings {
			t.Run(name+", "+way, func(t *testing.T) {
				stuck := make(chan struct{})
				released := make(chan struct{})
				defer close(released)
				p := newPeer(t, c.secure, func(l *link) {
					if c.silent {
						close(stuck)
						<-released
						return
					}
					l.next()
					l.write(c.raw)
					close(stuck)
				})
				transport := newTransport(t, p.url, func(g *http1.Config) {
					if c.dial {
						g.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
							close(stuck)
							<-ctx.Done()
							return nil, ctx.Err()
						}
					}
				})
				ctx, end, want := begin(t.Context())
				go func() {
					select {
					case <-stuck:
						end()
					case <-ctx.Done(): // which may be before the request is sent
					}
				}()
				began := time.Now()
				response, err := get(ctx, t, transport, p.url, nil)
				if err == nil {
					_, err = io.ReadAll(response.Body)
					if _, again := response.Body.Read(make([]byte, 1)); !errors.Is(again, want) {
						t.Errorf("a second look at the body gives %v", again)
					}
					_ = response.Body.Close()
				}
				if took := time.Since(began); !errors.Is(err, want) || took > atOnce {
					t.Errorf("%v after %v, want %v", err, took, want)
				}
				if response != nil && !c.responded {
					t.Error("there is a response")
				}
				if !c.silent { // of that, Close takes care
					eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
				}
			})
		}
	}
}

func TestAContextThatEndedBeforehandSendsNothing(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url)
	expect(t, transport, p.url, "connection 1")
	cause := errors.New("the cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := get(ctx, t, transport, p.url, nil); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	expect(t, transport, p.url, "connection 1")
	if n := p.requests.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestWhenAContextEndsAroundTheEndOfARequest(t *testing.T) {
	for name, c := range map[string]struct {
		end  string
		want string
	}{
		"before the body is read":   {"header", "connection 2"},
		"before the body is closed": {"read", "connection 2"},
		"after the request":         {"closed", "connection 1"},
		"in the next request":       {"later", "connection 1"},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, secure bool) {
				p := newPeer(t, secure, (*link).echo)
				transport := newTransport(t, p.url)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				at := func(moment string) {
					if moment == c.end {
						cancel()
					}
				}
				response, err := get(ctx, t, transport, p.url, nil)
				if err != nil {
					t.Fatal(err)
				}
				at("header")
				// What is here already may be had, or not.
				if body, err := io.ReadAll(response.Body); err == nil && string(body) != "connection 1" || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%q, %v", body, err)
				}
				at("read")
				_ = response.Body.Close()
				at("closed")
				next, err := get(t.Context(), t, transport, p.url, nil)
				if err != nil {
					t.Fatal(err)
				}
				at("later")
				defer func() { _ = next.Body.Close() }()
				if body, err := io.ReadAll(next.Body); string(body) != c.want || err != nil {
					t.Errorf("the next response is %q, %v; want %q", body, err, c.want)
				}
			})
		})
	}
}

func TestTheTimeoutCoversTheHandshake(t *testing.T) {
	released := make(chan struct{})
	defer close(released)
	p := newPeer(t, true, func(*link) { <-released })
	transport := newTransport(t, p.url, func(g *http1.Config) { g.Timeout = 50 * time.Millisecond })
	began := time.Now()
	_, err := fetch(t.Context(), t, transport, p.url)
	if timed, ok := errors.AsType[net.Error](err); !ok || !timed.Timeout() || time.Since(began) > atOnce {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
