package http1_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/podero-facade/server/internal/http1"
)

func witnessing(c *http1.Config) {
	c.Witness = true
	c.Timeout = 2 * time.Second // far more than the contexts have, as a busy machine may be late
}

// TestOneRequestAtATimeOutlivesItsContext has requests with too little time to a slow server, and
// to one that is dead.
func TestOneRequestAtATimeOutlivesItsContext(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(*link)
		dial  bool // whether connections are never made
		want  error
	}{
		"a slow server": {serve: func(l *link) {
			for {
				if _, ok := l.next(); !ok {
					return
				}
				<-time.After(200 * time.Millisecond)
				l.write(okResponse("hello"))
			}
		}},
		"a dead server": {serve: func(l *link) { l.next() }, want: os.ErrDeadlineExceeded},
		"a dead dial":   {serve: func(*link) {}, dial: true, want: os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overBoth(t, func(t *testing.T, secure bool) {
				t.Parallel()
				p := newPeer(t, secure, c.serve)
				transport := newTransport(t, p.url, witnessing, func(config *http1.Config) {
					if c.dial {
						config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
							<-ctx.Done()
							return nil, ctx.Err()
						}
					}
				})
				for range 2 { // the second one needs that the first one is over
					var cut, outlived atomic.Int32
					done := make(chan struct{})
					const requests = 5
					for range requests {
						go func() {
							ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
							defer cancel()
							body, err := fetch(ctx, t, transport, p.url)
							switch {
							case errors.Is(err, context.DeadlineExceeded):
								cut.Add(1)
							case errors.Is(err, c.want) && (err != nil || body == "hello"):
								outlived.Add(1)
							default:
								t.Errorf("got %q, %v", body, err)
							}
							done <- struct{}{}
						}()
					}
					for range requests {
						<-done
					}
					if outlived.Load() != 1 || cut.Load() != requests-1 {
						t.Errorf("%d outlived their contexts and %d were cut, want 1 and %d", outlived.Load(), cut.Load(), requests-1)
					}
				}
			})
		})
	}
}

func TestCloseEndsTheWitness(t *testing.T) {
	for name, dials := range map[string]bool{"in a dial": false, "in a request": true} {
		t.Run(name, func(t *testing.T) {
			begun := make(chan struct{})
			p := newPeer(t, false, func(l *link) {
				l.next()
				close(begun)
			})
			transport := newTransport(t, p.url, witnessing, func(config *http1.Config) {
				config.Timeout = testLimit
				if !dials {
					config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
						close(begun)
						<-ctx.Done()
						return nil, ctx.Err()
					}
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := fetch(ctx, t, transport, p.url); err == nil {
					t.Error("got a response")
				}
			}()
			<-begun
			cancel()
			<-time.After(10 * time.Millisecond)
			start := time.Now()
			transport.Close()
			<-done
			if took := time.Since(start); took > atOnce {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestAPanicWhileConnectingIsAnError has one in each function that a connection is made with.
func TestAPanicWhileConnectingIsAnError(t *testing.T) {
	p := newPeer(t, true, (*link).echo)
	var panics atomic.Bool
	panics.Store(true)
	transport := newTransport(t, p.url, func(config *http1.Config) {
		config.MaxConns = 1 // whose slot is free again after a panic
		config.TLS.VerifyConnection = func(tls.ConnectionState) error {
			if panics.Load() {
				panic("hunter2")
			}
			return nil
		}
	})
	for range 2 {
		if _, err := fetch(t.Context(), t, transport, p.url); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
	panics.Store(false)
	if _, err := fetch(t.Context(), t, transport, p.url); err != nil {
		t.Error(err)
	}
}
