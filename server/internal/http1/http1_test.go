package http1_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.com/podero-facade/server/internal/http1"
)

const (
	ok      = "HTTP/1.1 200 OK\r\n"
	chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
)

func TestSequentialRequestsUseOneConnection(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPeer(t, secure, (*link).echo)
		transport := newTransport(t, p.url)
		for range 3 {
			expect(t, transport, p.url, "connection 1")
		}
	})
}

func TestWhichConnectionsAreUsedAgain(t *testing.T) {
	const all = -1
	for name, c := range map[string]struct {
		raw   string
		close bool // whether the server closes then
		read  int  // how many bytes of the body are read
		again bool
	}{
		"a length":                      {okResponse("hello"), false, all, true},
		"chunks":                        {chunked + "5\r\nhello\r\n0\r\n\r\n", false, all, true},
		"chunks and a trailer":          {chunked + "5\r\nhello\r\n0\r\nA: b\r\n\r\n", false, all, true},
		"204":                           {"HTTP/1.1 204 No Content\r\n\r\n", false, all, true},
		"304":                           {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, all, true},
		"404":                           {"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", false, all, true},
		"HTTP/1.0 that is kept":         {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", false, all, true},
		"Connection: close":             {ok + "Connection: close\r\nContent-Length: 1\r\n\r\nx", false, all, false},
		"close among others":            {ok + "Connection: foo, Close\r\nContent-Length: 1\r\n\r\nx", false, all, false},
		"close with chunks":             {ok + "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, all, false},
		"HTTP/1.0":                      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false, all, false},
		"an end with the connection":    {ok + "\r\nhello", true, all, false},
		"101":                           {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", false, all, false},
		"101 that says no more":         {"HTTP/1.1 101 Switching Protocols\r\n\r\n", false, all, false},
		"a status below all":            {"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n", false, all, false},
		"nothing read":                  {okResponse("hello"), false, 0, false},
		"half read":                     {okResponse("hello"), false, 2, false},
		"nothing read, nor here yet":    {ok + "Content-Length: 50\r\n\r\n", false, 0, false},
		"half read, and no more here":   {ok + "Content-Length: 50\r\n\r\nhello", false, 5, false},
		"a chunk read, no more here":    {chunked + "5\r\nhello\r\n", false, 5, false},
		"chunks half read":              {chunked + "5\r\nhello\r\n0\r\n\r\n", false, 2, false},
		"a length, cut short":           {ok + "Content-Length: 50\r\n\r\nhello", true, all, false},
		"chunks, cut short":             {chunked + "5\r\nhel", true, all, false},
		"chunks that make no sense":     {chunked + "5\r\nhello!!\r\n0\r\n\r\n", false, all, false},
		"more than the length":          {okResponse("hello") + "!", false, all, false},
		"a response too many":           {okResponse("hello") + okResponse("not yours"), false, all, false},
		"a response too many after 204": {"HTTP/1.1 204 No Content\r\n\r\n" + okResponse("not yours"), false, all, false},
		"a body of 204":                 {"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", false, all, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, false, func(l *link) {
				if l.number == 1 {
					l.next()
					l.write(c.raw)
					if c.close {
						_ = l.Close()
					}
				}
				l.echo()
			})
			transport := newTransport(t, p.url)
			response, err := get(t.Context(), t, transport, p.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.raw[len("HTTP/1.1 "):][:3]; fmt.Sprintf("%03d", response.StatusCode) != want {
				t.Errorf("status %d, want %s", response.StatusCode, want)
			}
			if c.read == all {
				_, _ = io.Copy(io.Discard, response.Body)
			} else if _, err := io.ReadFull(response.Body, make([]byte, c.read)); err != nil {
				t.Error(err)
			}
			for range 2 { // to close it twice is no mistake
				if err := response.Body.Close(); err != nil {
					t.Error(err)
				}
			}
			want := "connection 2"
			if c.again {
				want = "connection 1"
			}
			expect(t, transport, p.url, want)
			if n, err := response.Body.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("a closed body gives %d bytes, %v", n, err)
			}
			expect(t, transport, p.url, want)
		})
	}
}

func TestAHeaderThatFailsEndsItsConnection(t *testing.T) {
	for name, raw := range map[string]string{
		"none":             "",
		"a part":           "HTTP/1.1 200 OK\r\nContent-Ty",
		"no HTTP":          "SSH-2.0-x\r\n\r\n",
		"only a 103":       "HTTP/1.1 103 Early Hints\r\n\r\n",
		"two lengths":      ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a strange coding": ok + "Transfer-Encoding: gzip\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, false, func(l *link) {
				if l.number == 1 {
					l.next()
					l.write(raw)
					_ = l.Close()
				}
				l.echo()
			})
			transport := newTransport(t, p.url)
			if body, err := fetch(t.Context(), t, transport, p.url); err == nil {
				t.Errorf("got %q, want an error", body)
			}
			if n := p.requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
			expect(t, transport, p.url, "connection 2")
		})
	}
}

func TestInformationalResponsesAreSkipped(t *testing.T) {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nContent-Length: 3\r\n\r\n"
	for n, want := range []string{"hello", "hello", "hello", "hello", "hello", "hello", ""} {
		p := newPeer(t, false, func(l *link) {
			for {
				if _, ok := l.next(); !ok {
					return
				}
				l.write(strings.Repeat(hints, n) + okResponse("hello"))
			}
		})
		transport := newTransport(t, p.url)
		for range 2 {
			body, err := fetch(t.Context(), t, transport, p.url)
			if body != want || (err == nil) != (want != "") {
				t.Errorf("after %d: %q, %v", n, body, err)
			}
		}
		if made := p.made.Load(); made != 1 && want != "" {
			t.Errorf("after %d: %d connections for two requests", n, made)
		}
	}
}

func TestHeadersHaveABound(t *testing.T) {
	const most = 10_000
	headerOf := func(size int) string {
		const begin, end = ok + "Content-Length: 5\r\nA: ", "\r\n\r\n"
		return begin + strings.Repeat("a", size-len(begin)-len(end)) + end
	}
	const hints = "HTTP/1.1 103 Early Hints\r\n\r\n"
	for name, c := range map[string]struct {
		raw  string
		fits bool
	}{
		"just short enough":         {headerOf(most) + "hello", true},
		"a byte too long":           {headerOf(most+1) + "hello", false},
		"too long, and not ended":   {ok + "A: " + strings.Repeat("a", 10*most), false},
		"with a 103, short enough":  {hints + headerOf(most-len(hints)) + "hello", true},
		"with a 103, together long": {hints + headerOf(most+1-len(hints)) + "hello", false},
		"a long status line":        {"HTTP/1.1 200 " + strings.Repeat("O", most) + "\r\n\r\n", false},
		"a body that is longer":     {ok + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 5*most, strings.Repeat("hello", most)), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, false, func(l *link) {
				l.next()
				l.write(c.raw)
			})
			transport := newTransport(t, p.url, func(g *http1.Config) { g.MaxHeaderBytes = most })
			body, err := fetch(t.Context(), t, transport, p.url)
			if c.fits != (err == nil) || c.fits != strings.HasPrefix(body, "hello") {
				t.Errorf("%.20q, %v", body, err)
			}
		})
	}
}

func TestTrailersFollowChunks(t *testing.T) {
	p := newPeer(t, false, func(l *link) {
		l.next()
		l.write(ok + "Trailer: A\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n")
	})
	response, err := get(t.Context(), t, newTransport(t, p.url), p.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); string(body) != "hello" || err != nil || response.Trailer.Get("A") != "b" {
		t.Errorf("%q, %v, trailer %v", body, err, response.Trailer)
	}
}

func TestWhatIsSent(t *testing.T) {
	headers := make(chan string, 1)
	p := newPeer(t, false, func(l *link) {
		for {
			header, ok := l.next()
			if !ok {
				return
			}
			headers <- header
			l.write(okResponse(""))
		}
	})
	transport := newTransport(t, p.url)
	host := "Host: " + p.listener.Addr().String()
	for name, c := range map[string]struct {
		path   string
		header http.Header
		want   []string
	}{
		"nothing of one's own": {"", nil, []string{"GET / HTTP/1.1", host}},
		"a path and a query":   {"/a%20b/%2F?c=d%0d%0a&e", nil, []string{"GET /a%20b/%2F?c=d%0d%0a&e HTTP/1.1", host}},
		"headers": {
			"/x", http.Header{"Authorization": {"Bearer x"}, "Accept": {"a", "b"}, "User-Agent": {"me"}, "X-Empty": {""}, "X-None": {}},
			[]string{"GET /x HTTP/1.1", host, "Authorization: Bearer x", "Accept: a", "Accept: b", "User-Agent: me", "X-Empty: "},
		},
		"an encoding": {"/x", http.Header{"Accept-Encoding": {"br"}}, []string{"GET /x HTTP/1.1", host, "Accept-Encoding: br"}},
	} {
		response, err := get(t.Context(), t, transport, p.url+c.path, c.header)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		got := strings.Split(strings.TrimSuffix(<-headers, "\r\n\r\n"), "\r\n")
		if got[0] != c.want[0] || got[1] != c.want[1] {
			t.Errorf("%s: %q comes first", name, got[:2])
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if n := p.made.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestNothingCanBeInjected(t *testing.T) {
	p := newEcho(t)
	transport := newTransport(t, p.url)
	expect(t, transport, p.url, "connection 1")
	for name, spoil := range map[string]func(*http.Request){
		"CRLF in a value":           func(r *http.Request) { r.Header["A"] = []string{"b\r\nEvil: 1"} },
		"LF in a value":             func(r *http.Request) { r.Header["A"] = []string{"x", "b\nEvil: 1"} },
		"CR in a value":             func(r *http.Request) { r.Header["A"] = []string{"b\rEvil: 1"} },
		"NUL in a value":            func(r *http.Request) { r.Header["A"] = []string{"b\x00"} },
		"CRLF in a name":            func(r *http.Request) { r.Header["A: b\r\nEvil"] = []string{"1"} },
		"a blank in a name":         func(r *http.Request) { r.Header["Transfer-Encoding "] = []string{"chunked"} },
		"a colon in a name":         func(r *http.Request) { r.Header["A:"] = []string{"1"} },
		"no name":                   func(r *http.Request) { r.Header[""] = []string{"1"} },
		"CRLF in a query":           func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nEvil: 1\r\n\r\n" },
		"a space in an opaque part": func(r *http.Request) { r.URL.Opaque = "/a HTTP/1.1" },
		"LF in a query":             func(r *http.Request) { r.URL.RawQuery = "a\nEvil: 1" },
		"CRLF in an opaque part":    func(r *http.Request) { r.URL.Opaque = "/a HTTP/1.1\r\nEvil: 1\r\n\r\n" },
	} {
		before := p.requests.Load()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		spoil(request)
		ctx, cancel := context.WithTimeout(t.Context(), testLimit)
		if _, err := transport.RoundTrip(request.WithContext(ctx)); err == nil || strings.Contains(err.Error(), "Evil") {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if n := p.requests.Load() - before; n != 0 {
			t.Errorf("%s: %d requests were sent", name, n)
		}
	}
}
