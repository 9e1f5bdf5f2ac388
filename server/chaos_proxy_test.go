//go:build chaos

package server_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// proxy is a TCP proxy that can freeze, delay and reset its connections, and drop new ones.
type proxy struct {
	target   string
	listener *net.TCPListener
	accepted atomic.Int64 // connections so far
	received atomic.Int64 // when a client last sent something, in nanoseconds since 1970
	latency  atomic.Int64 // of each direction, in nanoseconds
	freezing atomic.Bool  // whether new connections begin frozen
	running  sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]struct{}
	closed bool
}

// link is one connection through a proxy.
type link struct {
	client, server net.Conn // server is nil if the connection began frozen

	mu     sync.Mutex
	frozen bool
}

// newProxy starts a proxy in front of an address.
func newProxy(t testing.TB, target string) *proxy { return newProxyAt(t, "127.0.0.1:0", target) }

// newProxyAt starts a proxy that listens at an address.
func newProxyAt(t testing.TB, address, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, listener: listenAt(t, address), links: map[*link]struct{}{}}
	p.running.Go(p.serve)
	t.Cleanup(func() {
		_ = p.listener.Close()
		p.mu.Lock()
		p.closed = true
		for l := range p.links {
			l.close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// listenAt listens for plain TCP: a socket for Multipath TCP takes no packet filter.
func listenAt(t testing.TB, address string) *net.TCPListener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener.(*net.TCPListener)
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.running.Go(func() { p.forward(client) })
	}
}

// forward connects a client to the target, unless new connections are to freeze.
func (p *proxy) forward(client net.Conn) {
	l := &link{client: client, frozen: p.freezing.Load()}
	if !l.frozen {
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			return
		}
		l.server = server
	}
	if !p.add(l) || l.server == nil {
		return
	}
	p.running.Go(func() { p.copy(l, l.server, l.client) })
	p.copy(l, l.client, l.server)
}

// add remembers a link, or closes it if the proxy has been closed.
func (p *proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.close()
		return false
	}
	p.links[l] = struct{}{}
	return true
}

// copy forwards one direction of a link, until either side closes it or it is frozen.
func (p *proxy) copy(l *link, from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && from == l.client {
			p.received.Store(time.Now().UnixNano())
		}
		time.Sleep(time.Duration(p.latency.Load()))
		if !l.write(to, buffer[:n], err != nil) {
			return
		}
		if err != nil {
			p.mu.Lock()
			delete(p.links, l)
			p.mu.Unlock()
			return
		}
	}
}

// write writes to one side of a link, or closes both after the last bytes. A frozen link stays as
// it is.
func (l *link) write(to net.Conn, data []byte, last bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen {
		return false
	}
	_, err := to.Write(data)
	if last || err != nil {
		l.close()
	}
	return true
}

func (l *link) close() {
	_ = l.client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
}

// each does something to every link.
func (p *proxy) each(do func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.mu.Lock()
		do(l)
		l.mu.Unlock()
	}
}

// open returns how many connections are open and not frozen.
func (p *proxy) open() (n int) {
	p.each(func(l *link) {
		if !l.frozen {
			n++
		}
	})
	return n
}

// freeze stops forwarding on the connections that are open, as a server that hangs: its kernel
// still acknowledges.
func (p *proxy) freeze() { p.each(func(l *link) { l.frozen = true }) }

// silence freezes the connections that are open and drops the packets of their clients, as a
// firewall that forgot them.
func (p *proxy) silence(t testing.TB) {
	p.each(func(l *link) {
		l.frozen = true
		dropPackets(t, l.client.(*net.TCPConn))
	})
}

// freezeNew makes new connections begin frozen: accepted, and nothing else.
func (p *proxy) freezeNew() { p.freezing.Store(true) }

// dropNew drops the packets of new connections, so that none is made.
func (p *proxy) dropNew(t testing.TB) { dropPackets(t, p.listener) }

// delay makes each direction of all connections take longer.
func (p *proxy) delay(latency time.Duration) { p.latency.Store(int64(latency)) }

// reset resets the connections that are open.
func (p *proxy) reset() {
	p.each(func(l *link) {
		_ = l.client.(*net.TCPConn).SetLinger(0)
		l.close()
	})
}

// dropPackets makes the kernel drop what a socket receives: data, acknowledgements, keep-alive
// probes, and a listener's SYNs. Sockets that were accepted before stay as they are.
func dropPackets(t testing.TB, socket syscall.Conn) {
	t.Helper()
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.AttachLsf(int(fd), []syscall.SockFilter{{Code: syscall.BPF_RET | syscall.BPF_K}})
	})
	if err == nil && failed != nil {
		err = failed
	}
	if err != nil && !isClosed(err) {
		t.Errorf("can't drop packets: %v", err)
	}
}
