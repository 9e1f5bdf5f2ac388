// Package httpbody reads the bodies of HTTP responses within a limit.
package httpbody

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Errors of Read. Both come with the body as it was received.
var (
	ErrTooLarge = errors.New("the body is too large")
	ErrEncoding = errors.New("the body is not encoded as Content-Encoding says")
)

// Read reads a response's body of at most limit bytes, and decodes it if it is compressed with gzip: nobody asks for
// that, but a server may do so all the same (RFC 9110, section 12.5.3). Its other errors are the network's;
// io.ErrUnexpectedEOF is one for a body that was cut short.
func Read(response *http.Response, limit int) ([]byte, error) {
	size := int64(bytes.MinRead) // where the length is unknown
	if known := response.ContentLength; 0 <= known && known <= int64(limit) {
		size += known // and as much as reading to its end needs
	}
	buffer := bytes.NewBuffer(make([]byte, 0, size))
	if _, err := buffer.ReadFrom(io.LimitReader(response.Body, int64(limit)+1)); err != nil {
		return nil, err
	}
	if buffer.Len() > limit {
		return buffer.Bytes(), ErrTooLarge
	}
	encodings := response.Header["Content-Encoding"]
	if len(encodings) == 0 { // the usual case
		return buffer.Bytes(), nil
	}
	return decode(buffer.Bytes(), strings.ToLower(strings.Join(encodings, ", ")), limit)
}

func decode(body []byte, encoding string, limit int) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip": // the same (RFC 9110, section 8.4.1.3)
	default:
		return body, ErrEncoding
	}
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return body, ErrEncoding
	}
	decoded, err := io.ReadAll(io.LimitReader(reader, int64(limit)+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return body, err
	case err != nil:
		return body, ErrEncoding
	case len(decoded) > limit:
		return body, ErrTooLarge
	default:
		return decoded, nil
	}
}
