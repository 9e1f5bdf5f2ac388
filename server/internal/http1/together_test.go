package http1_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/podero-facade/server/internal/http1"
)

// mirror responds to each request with its path, in many forms.
func mirror(l *link) {
	for {
		header, ok := l.next()
		if !ok {
			return
		}
		_, rest, _ := strings.Cut(header, " ")
		path, _, _ := strings.Cut(rest, " ")
		if !mirrorOnce(l, path) {
			_ = l.Close()
			return
		}
	}
}

// mirrorOnce reports whether the connection goes on.
func mirrorOnce(l *link, path string) bool {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n/evil"
	inChunks := func(s string) string {
		return fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 2, s[:2], len(s)-2, s[2:])
	}
	switch rand.IntN(22) { //nolint:gosec // which of the ways is no secret
	case 0, 1, 2, 3, 4, 5, 6:
		l.write(chunked + inChunks(path))
	case 7, 8, 9:
		l.write("HTTP/1.1 103 Early Hints\r\n\r\n" + okResponse(path))
	case 10, 11, 12:
		whole := okResponse(path)
		l.write(whole[:20], whole[20:])
	case 13:
		l.write(ok+"Connection: close\r\n\r\n", path)
		return false
	case 14:
		l.writeTogether(okResponse(path), evil)
	default:
		l.write(okResponse(path))
	}
	return rand.IntN(100) > 0 //nolint:gosec // as above
}

func TestEachResponseBelongsToItsRequest(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		const callers = 50
		each := 200
		if secure {
			each = 40 // handshakes take their time
		}
		p := newPeer(t, secure, mirror)
		transport := newTransport(t, p.url, func(g *http1.Config) { g.MaxIdle = callers / 2 })
		var whole, left, lost atomic.Int32
		var calling sync.WaitGroup
		for caller := range callers {
			calling.Go(func() {
				for n := range each {
					want := fmt.Sprintf("/%d/%d", caller, n)
					ctx, cancel := context.WithCancel(t.Context())
					if rand.IntN(8) == 0 { //nolint:gosec // when it ends is no secret
						time.AfterFunc(time.Duration(rand.IntN(2_000_000)), cancel) //nolint:gosec // as above
					}
					body, err := fetch(ctx, t, transport, p.url+want)
					switch {
					case err == nil && body == want:
						whole.Add(1)
					case err == nil:
						t.Errorf("got %q for %q", body, want)
					case errors.Is(err, context.Canceled) && ctx.Err() != nil:
						left.Add(1)
					default:
						lost.Add(1) // over a connection that was being closed
					}
					cancel()
				}
			})
		}
		calling.Wait()
		t.Logf("%d responses, %d left, %d lost, over %d connections", whole.Load(), left.Load(), lost.Load(), p.made.Load())
		if all := int32(callers * each); whole.Load() < all/2 || lost.Load() > all/20 {
			t.Errorf("only %d responses, and %d were lost", whole.Load(), lost.Load())
		}
		eventually(t, "no more connections than are kept", func() bool { return p.open.Load() <= callers/2 })
		transport.Close()
		eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
	})
}

func TestCloseWhileRequestsRun(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, func(l *link) {
			for {
				header, ok := l.next()
				if !ok {
					return
				}
				_, rest, _ := strings.Cut(header, " ")
				path, _, _ := strings.Cut(rest, " ")
				l.write(okResponse(path))
			}
		})
		for range 20 {
			transport := newTransport(t, p.url)
			begun, closed := make(chan struct{}, 8), make(chan struct{})
			var calling sync.WaitGroup
			for caller := range cap(begun) {
				calling.Go(func() {
					for n := 0; ; n++ {
						want := fmt.Sprintf("/%d/%d", caller, n)
						body, err := fetch(t.Context(), t, transport, p.url+want)
						if n == caller {
							begun <- struct{}{}
						}
						if err == nil && body != want {
							t.Errorf("got %q for %q", body, want)
						}
						if err == nil {
							continue
						}
						select {
						case <-closed:
						default:
							if !isOfClose(err) {
								t.Errorf("%v before the end", err)
							}
						}
						return
					}
				})
			}
			for range cap(begun) {
				<-begun
			}
			transport.Close()
			close(closed)
			calling.Wait()
		}
		eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
	})
}

// isOfClose reports whether an error is that of a request to which Close denied a connection.
func isOfClose(err error) bool {
	return errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "closed")
}
