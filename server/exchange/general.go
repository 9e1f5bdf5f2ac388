package exchange

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
)

// isFor reports whether a request is for this server, under its name.
func (t *Transport) isFor(request *http.Request) bool {
	return request.URL.Scheme == t.scheme && request.URL.Host == t.host && (request.Host == "" || request.Host == t.host)
}

// isPlain reports whether a request is a GET that needs nothing but to be written as it is.
func isPlain(request *http.Request) bool {
	if request.Method != http.MethodGet || request.Body != nil || request.Close {
		return false
	}
	for name := range request.Header {
		switch name {
		case "Connection", "Content-Length", "Host", "Range", "Trailer", "Transfer-Encoding":
			return false
		}
	}
	return true
}

// leave leaves an exchange to net/http.
func (t *Transport) leave(request *http.Request) (*http.Response, error) {
	// Not context.WithTimeout, which would leave the timing to its parent if that ends sooner: the deadline of a
	// lookup that several callers share may still move.
	ctx, cancel := context.WithCancelCause(request.Context())
	timer := time.AfterFunc(t.timeout, func() { cancel(context.DeadlineExceeded) })
	end := func() { timer.Stop(); cancel(nil) }
	ours := t.isFor(request)
	request = request.WithContext(ctx)
	if target := request.URL.Opaque; target != "" { // which net/http would not send to a proxy as it must
		where, err := url.Parse(request.URL.Scheme + "://" + request.URL.Host + target)
		if err != nil {
			end()
			return nil, err
		}
		request.URL = where
	}
	if (request.Body == nil || request.Body == http.NoBody) && (!ours || !t.http2.Load()) {
		request.Body, request.TransferEncoding = once{}, identity
	}
	response, err := t.general.RoundTrip(request)
	if err != nil {
		defer end()
		return nil, ended(ctx, err)
	}
	if ours {
		t.http2.Store(response.ProtoMajor == 2)
	}
	response.Body = &timed{response.Body, ctx, end}
	return response, nil
}

// timed is the body of an exchange of net/http's, whose time ends when it is closed.
type timed struct {
	io.ReadCloser
	ctx context.Context
	end func()
}

func (t *timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the very value is an end
		err = ended(t.ctx, err)
	}
	return n, err
}

func (t *timed) Close() error {
	defer t.end()
	return t.ReadCloser.Close()
}

// once is an empty body that can't be read twice. net/http sends a GET again by itself when a connection that
// it reuses dies, as often as it has connections left, and no retry policy would know; with a body it
// does not. HTTP/2 needs no such guard: there it sends again only what the server has not looked at.
type once struct{}

func (once) Read([]byte) (int, error)         { return 0, io.EOF }
func (once) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (once) Close() error                     { return nil }

// identity says that the body of a request is sent as it is: net/http then does not try, in a goroutine of its own,
// whether there is one. A body without content leaves no trace in the request.
var identity = []string{"identity"}
