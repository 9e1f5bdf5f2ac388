package http1

import (
	"context"
	"io"
	"net/http"
	"time"
)

// body is a response's body. Closing it ends the round trip.
type body struct {
	io.ReadCloser
	transport  *Transport
	conn       *conn // nil once closed
	ctx        context.Context
	stop       func() bool   // stops watching ctx
	latency    time.Duration // from the request's start to the response's header
	closeAfter bool          // whether the connection can't be reused
	sawEOF     bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.conn == nil { // another request may use the connection by now
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF: //nolint:errorlint // io.Reader returns this very value
		b.sawEOF = true
	case err != nil && b.ctx.Err() != nil && b.conn.state.Load() != witnessing:
		err = context.Cause(b.ctx)
	}
	return n, err
}

// Close returns the connection to the pool if the body was read to its end, and closes it
// otherwise.
func (b *body) Close() error {
	c := b.conn
	if c == nil {
		return nil
	}
	b.conn = nil
	t, extra := b.transport, c.reader.Buffered() > 0
	if extra && b.sawEOF {
		t.unsolicited.Add(1)
	}
	reusable := t.endWatch(c, b.stop) && b.sawEOF && !b.closeAfter && !extra
	c.used = true
	t.pool.put(c, b.latency, reusable)
	return nil
}
