package exchange

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
)

// A body is that of an answer. To close it is to end the exchange.
type body struct {
	io.ReadCloser
	idle  *idle
	conn  *conn // nil once closed
	ctx   context.Context
	stop  func() bool // takes the interruption back, and reports whether it did
	last  bool        // whether the connection is good for no other exchange
	whole bool        // whether the body was read to its end
}

func (b *body) Read(p []byte) (int, error) {
	if b.conn == nil { // which another exchange may have by now
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF: //nolint:errorlint // the very value says so
		b.whole = true
	case err != nil:
		err = ended(b.ctx, err)
	}
	return n, err
}

// Close keeps the connection if the body was read to its end.
func (b *body) Close() error {
	c := b.conn
	if c == nil {
		return nil
	}
	b.conn = nil
	if quiet := b.stop(); quiet && b.whole && !b.last && c.reader.Buffered() == 0 {
		b.idle.put(c)
	} else {
		c.close()
	}
	return nil
}

// asksGzip reports whether a compressed answer is to be asked for, and to be unpacked here.
func asksGzip(request *http.Request) bool { return request.Header["Accept-Encoding"] == nil }

// isGzip reports whether an answer is compressed in the way that was asked for. If so, its headers are made those
// of what it unpacks to.
func isGzip(request *http.Request, response *http.Response) bool {
	if response.ContentLength == 0 || !asksGzip(request) || !strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") {
		return false
	}
	response.Header.Del("Content-Encoding")
	response.Header.Del("Content-Length")
	response.ContentLength = -1
	response.Uncompressed = true
	return true
}

// unzipped is a body that was compressed.
type unzipped struct {
	*body
	reader *gzip.Reader
	broken error // of what does not even begin as it should
}

func (u *unzipped) Read(p []byte) (int, error) {
	if u.conn == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	if u.reader == nil && u.broken == nil {
		u.reader, u.broken = gzip.NewReader(u.body)
	}
	if u.broken != nil {
		return 0, u.broken
	}
	return u.reader.Read(p)
}
