//go:build unix

package http1_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/podero-facade/server/internal/http1"
)

// dialer makes connections as a test wants, and keeps hold of them.
type dialer struct {
	gate chan struct{} // what each dial but the first waits for, if there is one

	mu    sync.Mutex
	conns []net.Conn
	begun int
}

func (d *dialer) use(g *http1.Config) {
	dial := g.DialContext
	g.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		d.mu.Lock()
		d.begun++
		first := d.begun == 1
		d.mu.Unlock()
		if d.gate != nil && !first {
			select {
			case <-d.gate:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		conn, err := dial(ctx, network, address)
		if err == nil {
			d.mu.Lock()
			d.conns = append(d.conns, conn)
			d.mu.Unlock()
		}
		return conn, err
	}
}

// await waits until there is something to read from the first connection, bytes or an end.
func (d *dialer) await(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	conn := d.conns[0]
	d.mu.Unlock()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return !errors.Is(err, syscall.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitWaiters waits until so many requests wait for a connection.
func awaitWaiters(t *testing.T, transport *http1.Transport, n int) {
	t.Helper()
	eventually(t, "requests that wait for a connection", func() bool { return transport.Waiting() == n })
}

func TestAConnectionThatEndedIsNotUsed(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, func(l *link) {
			if l.number == 1 {
				l.next()
				l.write(okResponse("connection 1"))
				_ = l.Close()
				return
			}
			l.echo()
		})
		var d dialer
		transport := newTransport(t, p.url, d.use)
		expect(t, transport, p.url, "connection 1")
		d.await(t)
		expect(t, transport, p.url, "connection 2")
		expect(t, transport, p.url, "connection 2")
		if n := p.requests.Load(); n != 3 {
			t.Errorf("%d requests were sent for three", n)
		}
	})
}

func TestUnsolicitedBytesAreNobodysResponse(t *testing.T) {
	const late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	for name, send := range map[string]func(l *link, idle <-chan struct{}) (arrives bool){
		"a 408 while idle": func(l *link, idle <-chan struct{}) bool {
			l.write(okResponse("connection 1"))
			<-idle
			l.write(late)
			return true
		},
		"a 408 and an end while idle": func(l *link, idle <-chan struct{}) bool {
			l.write(okResponse("connection 1"))
			<-idle
			l.write(late)
			_ = l.Close()
			return true
		},
		"a response while idle": func(l *link, idle <-chan struct{}) bool {
			l.write(okResponse("connection 1"))
			<-idle
			l.write(okResponse("not yours"))
			return true
		},
		"a byte while idle": func(l *link, idle <-chan struct{}) bool {
			l.write(okResponse("connection 1"))
			<-idle
			l.write("\n")
			return true
		},
		"two responses in one write": func(l *link, _ <-chan struct{}) bool {
			l.write(okResponse("connection 1") + okResponse("not yours"))
			return false
		},
		"two responses in two writes, together": func(l *link, _ <-chan struct{}) bool {
			l.writeTogether(okResponse("connection 1"), okResponse("not yours"))
			return false
		},
		"a response, and a second one byte by byte, together": func(l *link, _ <-chan struct{}) bool {
			l.writeTogether(append([]string{okResponse("connection 1")}, strings.Split(okResponse("not yours"), "")...)...)
			return false
		},
		"a second one after chunks, together": func(l *link, _ <-chan struct{}) bool {
			l.writeTogether(chunked, "c\r\nconnection 1\r\n", "0\r\n\r\n", okResponse("not yours"))
			return false
		},
	} {
		// The next request takes an idle connection, or waits for one.
		for way, waits := range map[string]bool{"from the idle ones": false, "to a waiting request": true} {
			t.Run(name+", "+way, func(t *testing.T) {
				overBoth(t, func(t *testing.T, secure bool) {
					idle, sent := make(chan struct{}), make(chan bool, 1)
					p := newPeer(t, secure, func(l *link) {
						if l.number == 1 {
							l.next()
							sent <- send(l, idle)
						}
						l.echo()
					})
					d := dialer{gate: make(chan struct{})}
					transport := newTransport(t, p.url, d.use)
					first, err := get(t.Context(), t, transport, p.url, nil)
					if err != nil {
						t.Fatal(err)
					}
					if body, err := io.ReadAll(first.Body); string(body) != "connection 1" || err != nil {
						t.Errorf("first response %q, %v", body, err)
					}
					var second sync.WaitGroup
					defer second.Wait()
					if waits {
						second.Go(func() { expect(t, transport, p.url, "connection 2") })
						awaitWaiters(t, transport, 1)
					} else {
						_ = first.Body.Close()
					}
					close(idle)
					if <-sent {
						d.await(t)
					}
					_ = first.Body.Close()
					close(d.gate)
					if !waits {
						expect(t, transport, p.url, "connection 2")
					}
				})
			})
		}
	}
}

func TestWhoWaitsGetsWhatBecomesFree(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, (*link).echo)
		d := dialer{gate: make(chan struct{})}
		transport := newTransport(t, p.url, d.use)
		first, err := get(t.Context(), t, transport, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		var others sync.WaitGroup
		for range 3 { // of which each leaves the connection to the next
			others.Go(func() { expect(t, transport, p.url, "connection 1") })
		}
		awaitWaiters(t, transport, 3)
		_, _ = io.Copy(io.Discard, first.Body)
		_ = first.Body.Close()
		others.Wait()
	})
}

func TestWhoLeavesADialLeavesItsConnection(t *testing.T) {
	for name, c := range map[string]struct{ secure, inHandshake bool }{
		"a dial":              {false, false},
		"a dial before a TLS": {true, false},
		"a handshake":         {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			begun, proceed := make(chan struct{}), make(chan struct{})
			p := newPeer(t, c.secure, func(l *link) {
				if c.inHandshake {
					begun <- struct{}{}
					<-proceed
				}
				l.echo()
			})
			transport := newTransport(t, p.url, func(g *http1.Config) {
				if c.inHandshake {
					return
				}
				dial := g.DialContext
				g.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					begun <- struct{}{}
					<-proceed
					return dial(ctx, network, address)
				}
			})
			cause := errors.New("no time")
			ctx, cancel := context.WithCancelCause(t.Context())
			left := make(chan error, 1)
			go func() {
				_, err := fetch(ctx, t, transport, p.url)
				left <- err
			}()
			<-begun
			cancel(cause)
			if err := <-left; !errors.Is(err, cause) {
				t.Errorf("the request that was cancelled got %v", err)
			}
			// The next one asks for a connection of its own, which does not come, and gets the one that was
			// left.
			next := make(chan struct{})
			go func() {
				defer close(next)
				expect(t, transport, p.url, "connection 1")
			}()
			<-begun
			awaitWaiters(t, transport, 1)
			proceed <- struct{}{}
			<-next
			close(proceed)
		})
	}
}

func TestNoMoreAreKeptThanAllowed(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url, func(g *http1.Config) { g.MaxIdle = 2 })
	together := func() {
		var responses []*http.Response
		for range 5 {
			response, err := get(t.Context(), t, transport, p.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			responses = append(responses, response)
		}
		for _, response := range responses {
			_ = response.Body.Close()
		}
		eventually(t, "two connections", func() bool { return p.open.Load() == 2 })
	}
	together()
	together()
	if n := p.made.Load(); n != 8 {
		t.Errorf("%d connections for twice five requests at a time, of which two are kept", n)
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	const timeout = 100 * time.Millisecond
	p := newEcho(t)
	transport := newTransport(t, p.url, func(g *http1.Config) { g.IdleTimeout = timeout })
	for want := int32(2); want <= 4; want += 2 {
		first, err := get(t.Context(), t, transport, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := get(t.Context(), t, transport, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, response := range []*http.Response{first, second} {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		since := time.Now()
		eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
		if kept := time.Since(since); kept < timeout-10*time.Millisecond {
			t.Errorf("closed after %v", kept)
		}
		if n := p.made.Load(); n != want {
			t.Errorf("%d connections, want %d", n, want)
		}
	}
}

func TestCloseEndsWhatIsIdleAndWhatIsInTheMaking(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, (*link).echo)
		d := dialer{gate: make(chan struct{}, 1)}
		transport := newTransport(t, p.url, d.use)
		busy, err := get(t.Context(), t, transport, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.gate <- struct{}{}
		expect(t, transport, p.url, "connection 2") // idle from here on
		expect(t, transport, p.url, "connection 2")
		taken, err := get(t.Context(), t, transport, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		waits := make(chan error, 1)
		go func() {
			_, err := fetch(t.Context(), t, transport, p.url)
			waits <- err
		}()
		awaitWaiters(t, transport, 1)
		_ = taken.Body.Close() // not read, so it does not go to the waiting request
		eventually(t, "one connection", func() bool { return p.open.Load() == 1 })

		transport.Close()
		if err := <-waits; err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "transport closed") {
			t.Errorf("the request that waits for a connection got %v", err)
		}
		if body, err := io.ReadAll(busy.Body); string(body) != "connection 1" || err != nil {
			t.Errorf("a request in flight got %q, %v", body, err)
		}
		_ = busy.Body.Close()
		eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
		if _, err := fetch(t.Context(), t, transport, p.url); err == nil {
			t.Error("a request after the end succeeded")
		}
	})
}

func TestCloseEndsTheWaitForASlot(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url, func(c *http1.Config) { c.MaxConns = 1 })
	busy, err := get(t.Context(), t, transport, p.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := fetch(t.Context(), t, transport, p.url)
		waits <- err
	}()
	awaitWaiters(t, transport, 1)
	transport.Close()
	select {
	case err := <-waits:
		if err == nil || !strings.Contains(err.Error(), "transport closed") {
			t.Errorf("got %v, want that the transport is closed", err)
		}
	case <-time.After(atOnce):
		t.Error("the request still waits")
	}
	_ = busy.Body.Close()
}

func TestCloseClosesWhatIsIdle(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, (*link).echo)
		transport := newTransport(t, p.url)
		expect(t, transport, p.url, "connection 1")
		transport.Close()
		eventually(t, "no connection", func() bool { return p.open.Load() == 0 })
		transport.Close() // is no mistake
	})
}

func TestCloseEndsADialThatItsCallerLeft(t *testing.T) {
	silent, begun := make(chan struct{}), make(chan struct{})
	defer close(silent)
	p := newPeer(t, true, func(*link) {
		close(begun)
		<-silent // no handshake
	})
	transport := newTransport(t, p.url)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := fetch(ctx, t, transport, p.url); !errors.Is(err, context.Canceled) {
		t.Errorf("the request that was cancelled got %v", err)
	}
	began := time.Now()
	transport.Close()
	if took := time.Since(began); took > atOnce {
		t.Errorf("the end took %v", took)
	}
}

// wrapped is a connection that does not show its socket.
type wrapped struct{ net.Conn }

func TestAConnectionThatCanNotBeLookedAtIsNotUsedAgain(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url, func(g *http1.Config) {
		dial := g.DialContext
		g.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return wrapped{conn}, err
		}
	})
	expect(t, transport, p.url, "connection 1")
	expect(t, transport, p.url, "connection 2")
}
