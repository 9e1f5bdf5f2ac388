package exchange

import (
	"io"
	"net/http"
)

// leave leaves an exchange to net/http.
func (t *Transport) leave(request *http.Request) (*http.Response, error) {
	if !t.http2.Load() && request.Body == nil {
		request = request.WithContext(request.Context()) // a copy
		request.Body, request.TransferEncoding = once{}, identity
	}
	response, err := t.general.RoundTrip(request)
	if err == nil {
		t.http2.Store(response.ProtoMajor == 2)
	}
	return response, err
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
