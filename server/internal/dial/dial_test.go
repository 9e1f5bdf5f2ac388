//go:build linux

// The addresses 127.0.0.2 and so on, and a full backlog that drops SYNs, are Linux.

package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testLimit = 20 * time.Second

func addresses(list ...string) (parsed []netip.Addr) {
	for _, text := range list {
		parsed = append(parsed, netip.MustParseAddr(text))
	}
	return parsed
}

func TestTheOrderOfAddresses(t *testing.T) {
	for name, c := range map[string]struct{ last, resolved, want string }{
		"one family":              {"", "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"},
		"two families":            {"", "2001:db8::1 2001:db8::2 2001:db8::3 10.0.0.1", "2001:db8::1 10.0.0.1 2001:db8::2 2001:db8::3"},
		"mapped":                  {"", "::ffff:10.0.0.1 2001:db8::1 ::ffff:10.0.0.2", "10.0.0.1 2001:db8::1 10.0.0.2"},
		"what worked last":        {"10.0.0.2", "2001:db8::1 10.0.0.1 10.0.0.2", "10.0.0.2 2001:db8::1 10.0.0.1"},
		"what is no longer there": {"10.0.0.9", "10.0.0.1", "10.0.0.1"},
	} {
		d := New(time.Second)
		if c.last != "" {
			d.last["podero.test"] = netip.MustParseAddr(c.last)
		}
		got := d.order("podero.test", addresses(strings.Fields(c.resolved)...))
		if !slices.Equal(got, addresses(strings.Fields(c.want)...)) {
			t.Errorf("%s: got %v, want %s", name, got, c.want)
		}
	}
}

// newListener returns a listener at an address of loopback, and its port.
func newListener(t *testing.T, address string) (net.Listener, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return listener, port
}

// silence makes an address drop all that is sent to it: its queue of connections is full.
func silence(t *testing.T, host, port string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: number, Addr: netip.MustParseAddr(host).As4()}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 200*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the address still responds")
}

func TestASilentAddressCostsAFractionOfASecond(t *testing.T) {
	_, port := newListener(t, "127.0.0.3:0")
	silence(t, "127.0.0.2", port)
	d := New(testLimit) // of which package net would give the first address a half
	start := time.Now()
	conn, err := d.race(t.Context(), "tcp", "podero.test", port, addresses("127.0.0.2", "127.0.0.3"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if took := time.Since(start); took > testLimit/4 {
		t.Errorf("it took %v", took)
	}
	if next := d.order("podero.test", addresses("127.0.0.2", "127.0.0.3")); next[0].String() != "127.0.0.3" {
		t.Errorf("the next attempt begins with %v", next)
	}
}

func TestAnAddressThatRefusesCostsNothing(t *testing.T) {
	_, port := newListener(t, "127.0.0.3:0")
	d := New(testLimit)
	start := time.Now()
	conn, err := d.race(t.Context(), "tcp", "podero.test", port, addresses("127.0.0.2", "127.0.0.4", "127.0.0.5", "127.0.0.3"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if took := time.Since(start); took > testLimit/4 {
		t.Errorf("it took %v", took)
	}
}

func TestHowDialsFail(t *testing.T) {
	listener, port := newListener(t, "127.0.0.3:0")
	_ = listener.Close()
	silence(t, "127.0.0.2", port)
	d := New(500 * time.Millisecond)
	_, err := d.race(t.Context(), "tcp", "podero.test", port, addresses("127.0.0.3", "127.0.0.4"))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = d.race(ctx, "tcp", "podero.test", port, addresses("127.0.0.2"))
	if timed, ok := errors.AsType[net.Error](err); !ok || !timed.Timeout() {
		t.Errorf("silent: %v", err)
	}
	_, err = d.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.2", port))
	if timed, ok := errors.AsType[net.Error](err); !ok || !timed.Timeout() {
		t.Errorf("silent, without a name: %v", err)
	}
	if _, err = d.DialContext(t.Context(), "tcp", "podero.invalid:80"); err == nil {
		t.Error("a name that does not exist was connected to")
	}
	if _, err = d.DialContext(t.Context(), "tcp", "podero.test"); err == nil {
		t.Error("an address without a port was connected to")
	}
}

func TestNamesAreResolved(t *testing.T) {
	_, port := newListener(t, "127.0.0.1:0")
	conn, err := New(testLimit).DialContext(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// TestTheNextDialGoesOnWhereTheLastOneEnded has more silent addresses than a dial has time for.
func TestTheNextDialGoesOnWhereTheLastOneEnded(t *testing.T) {
	_, port := newListener(t, "127.0.0.9:0")
	list := addresses("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.9")
	for _, address := range list[:5] {
		silence(t, address.String(), port)
	}
	d := New(testLimit)
	dial := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		conn, err := d.race(ctx, "tcp", "podero.test", port, d.order("podero.test", list))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	dials := 0
	for dial() != nil {
		if dials++; dials > 4 {
			t.Fatal("the good address is never tried")
		}
	}
	if err := dial(); err != nil {
		t.Errorf("the next dial: %v", err)
	}
}

func TestANameWithoutAddressesFailsAtOnce(t *testing.T) {
	if _, err := New(testLimit).race(t.Context(), "tcp", "podero.test", "80", nil); err == nil {
		t.Error("no address was connected to")
	}
}
