package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dial connects to an address; everything on the connection ends in time.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange sends raw bytes to the REST port and returns all that comes back until the service closes.
func (s *service) exchange(t *testing.T, raw string) string {
	t.Helper()
	conn := dial(t, s.HTTPAddr().String())
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v after %q", err, answer)
	}
	return string(answer)
}

func TestRequestsThatMeanTwoThingsAreRefused(t *testing.T) {
	u := newUpstream(t, good, nil)
	s := start(t, u, nil)
	const hidden = "GET " + lookupPath + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, c := range map[string]struct {
		head, body string
		meant      bool // whether the request alone means one thing, so that it may be answered
	}{
		"two lengths":            {"Content-Length: 0\r\nContent-Length: 60\r\n", hidden, false},
		"length and chunks":      {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + hidden, true}, // chunks win (RFC 9112, section 6.3)
		"two encodings":          {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n" + hidden, false},
		"an unknown encoding":    {"Transfer-Encoding: xchunked\r\n", hidden, false},
		"a negative length":      {"Content-Length: -1\r\n", hidden, false},
		"a signed length":        {"Content-Length: +5\r\n", hidden, false},
		"a blank before a colon": {"Content-Length : 60\r\n", hidden, false},
		"NUL in a header":        {"X-Request-Id: a\x00b\r\n", hidden, false},
		"CR in a header":         {"X-Request-Id: a\rX-Evil: 1\r\n", hidden, false},
		"no host":                {"", "", false},
		"two hosts":              {"Host: a\r\nHost: b\r\n", hidden, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := len(u.apiRequests())
			host := "Host: localhost\r\n"
			if strings.Contains(name, "host") {
				host = ""
			}
			answer := s.exchange(t, "GET "+lookupPath+" HTTP/1.1\r\n"+host+c.head+"\r\n"+c.body)
			if n := strings.Count(answer, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d answers to one request: %.100q", n, answer)
			}
			refused := !strings.HasPrefix(answer, "HTTP/1.1 200")
			if refused == c.meant || refused && len(u.apiRequests()) != asked {
				t.Errorf("answer %.100q, and %d requests reached Podero", answer, len(u.apiRequests())-asked)
			}
		})
	}
}

func TestNoHeaderCanBeInjected(t *testing.T) {
	u := newUpstream(t, good, nil)
	s := start(t, u, nil)
	for _, path := range []string{
		lookupPath + "%0d%0aX-Evil:%201", "/api/partners/v2.0/org/" + orgID + "%0d%0aX-Evil:%201/users/by-ext-id/x",
		lookupPath + "?include_deleted=true%0d%0aX-Evil:%201", "/%0d%0aX-Evil:%201", lookupPath + "%00",
	} {
		got := s.call(t.Context(), t, http.MethodGet, path, http.Header{"X-Request-Id": {"a b"}})
		if got.user != nil || got.http.Header.Get("X-Evil") != "" || strings.Contains(got.requestID, " ") {
			t.Errorf("%s: %v", path, got.http.Header)
		}
	}
	for _, r := range u.apiRequests() {
		if r.Header.Get("X-Evil") != "" {
			t.Errorf("%s reached Podero with a header", r.RequestURI)
		}
	}
}

func TestHeadersFromOutsideTellNothingOfTheCaller(t *testing.T) {
	u := newUpstream(t, good, nil)
	s := start(t, u, nil)
	header := http.Header{}
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Client-Cert", "Forwarded", "X-Real-Ip",
		"Grpc-Metadata-Authorization", "Grpc-Metadata-X-Request-Id", "Grpc-Metadata-X-Podero", "Grpcgateway-Authorization", "X-Original-Url", "X-Rewrite-Url",
	} {
		header.Set(name, "forged-10.1.2.3")
	}
	got := lookupREST(t.Context(), t, s, theUser(), header)
	if got.user == nil || strings.Contains(got.requestID, "forged") {
		t.Errorf("%s, request ID %q", got.reason, got.requestID)
	}
	for _, r := range u.apiRequests() {
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, ""), "forged") {
				t.Errorf("%s reached Podero", name)
			}
		}
	}
	s.checkDiscretion(t)
}

func TestTenThousandHeadersAreRefused(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	var raw strings.Builder
	raw.WriteString("GET " + lookupPath + " HTTP/1.1\r\nHost: localhost\r\n")
	for i := range 10_000 {
		fmt.Fprintf(&raw, "X-%d: y\r\n", i)
	}
	conn := dial(t, s.HTTPAddr().String())
	_, _ = io.WriteString(conn, raw.String()+"\r\n") // the service may close before all is written
	answer, _ := io.ReadAll(conn)
	if len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 431") {
		t.Errorf("answer %.100q", answer)
	}
	// Over gRPC, the client itself is told of the bound.
	got := lookupGRPC(t.Context(), t, s, theUser(), http.Header{"X-Large": {strings.Repeat("x", 80<<10)}})
	if got.user != nil {
		t.Error("80 KiB of metadata were taken")
	}
	if lookupGRPC(t.Context(), t, s, theUser(), nil).user == nil {
		t.Error("the service does not answer any more")
	}
}

// h2 is a raw HTTP/2 connection to the gRPC port.
type h2 struct {
	net.Conn
	framer *http2.Framer
}

func dialH2(t *testing.T, address string) *h2 {
	t.Helper()
	conn := dial(t, address)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return &h2{conn, framer}
}

// untilClosed reads until the service closes the connection, and fails the test if it does not.
func (h *h2) untilClosed(t *testing.T) {
	t.Helper()
	for {
		if _, err := h.framer.ReadFrame(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
			return
		}
	}
}

func TestAPingFloodEndsItsConnectionAlone(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	flood := dialH2(t, s.GRPCAddr().String())
	go func() {
		for flood.framer.WritePing(false, [8]byte{}) == nil {
		}
	}()
	flood.untilClosed(t)
	if got := lookupGRPC(t.Context(), t, s, theUser(), nil); got.user == nil {
		t.Errorf("another caller got %s", got.reason)
	}
}

func TestRapidResetHarmsNobodyElse(t *testing.T) {
	u := newUpstream(t, good, nil)
	s := start(t, u, nil)
	attack := dialH2(t, s.GRPCAddr().String())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	go func() {
		for id := uint32(1); id < 100_000; id += 2 {
			block.Reset()
			for _, field := range [][2]string{
				{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/podero.user.v1.UserService/GetUserByExternalId"},
				{"content-type", "application/grpc"}, {"te", "trailers"},
			} {
				_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
			}
			err := attack.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
			if err != nil || attack.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
		_ = attack.Close()
	}()
	for range 50 {
		if got := lookupGRPC(t.Context(), t, s, theUser(), nil); got.user == nil {
			t.Fatalf("another caller got %s", got.reason)
		}
	}
	_ = attack.Close()
}

// TestASlowCallerIsCutOff holds a connection of each port open with half a request.
func TestASlowCallerIsCutOff(t *testing.T) {
	t.Parallel()
	s := start(t, newUpstream(t, good, nil), nil)
	for name, c := range map[string]struct{ address, half string }{
		"REST":  {s.HTTPAddr().String(), "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
		"admin": {s.AdminAddr().String(), "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
		"gRPC":  {s.GRPCAddr().String(), http2.ClientPreface[:10]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, c.address)
			if _, err := io.WriteString(conn, c.half); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if _, err := io.ReadAll(conn); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("still open after %v", time.Since(begun))
				}
			}
		})
	}
}

func TestHeadersOf64KiBAreTaken(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	for _, protocol := range protocols {
		for name, header := range map[string]http.Header{
			"one value":   {"X-Large": {strings.Repeat("x", 64<<10)}},
			"many values": {"X-Large": slices.Repeat([]string{strings.Repeat("x", 1<<10)}, 60)},
		} {
			if got := protocol.lookup(t.Context(), t, s, theUser(), header); got.user == nil {
				t.Errorf("%s, %s: got %v %s", protocol.name, name, got.code, got.message)
			}
		}
	}
}
