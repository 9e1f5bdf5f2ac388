package httpbody_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/podero-facade/server/internal/httpbody"
)

const limit = 100

func compress(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func TestRead(t *testing.T) {
	bomb := compress(strings.Repeat("x", limit+1))
	for name, c := range map[string]struct {
		encodings []string
		body      string
		want      string
		err       error
	}{
		"no encoding":            {nil, "hello", "hello", nil},
		"nothing":                {nil, "", "", nil},
		"at the limit":           {nil, strings.Repeat("x", limit), strings.Repeat("x", limit), nil},
		"over the limit":         {nil, strings.Repeat("x", limit+5), strings.Repeat("x", limit+1), httpbody.ErrTooLarge},
		"identity":               {[]string{"Identity"}, "hello", "hello", nil},
		"gzip":                   {[]string{"GZIP"}, compress("hello"), "hello", nil},
		"x-gzip":                 {[]string{"x-gzip"}, compress("hello"), "hello", nil},
		"gzip that is none":      {[]string{"gzip"}, "hello", "hello", httpbody.ErrEncoding},
		"gzip that is cut short": {[]string{"gzip"}, compress("hello")[:12], compress("hello")[:12], io.ErrUnexpectedEOF},
		"gzip that grows":        {[]string{"gzip"}, bomb, bomb, httpbody.ErrTooLarge},
		"another encoding":       {[]string{"br"}, "hello", "hello", httpbody.ErrEncoding},
		"two encodings":          {[]string{"gzip", "gzip"}, compress("hello"), compress("hello"), httpbody.ErrEncoding},
	} {
		for _, length := range []int64{-1, int64(len(c.body))} {
			response := &http.Response{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body)), ContentLength: length}
			if c.encodings != nil {
				response.Header["Content-Encoding"] = c.encodings
			}
			got, err := httpbody.Read(response, limit)
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s: got %q, %v; want %q, %v", name, got, err, c.want, c.err)
			}
		}
	}
}

func TestReadReturnsTheErrorsOfTheNetwork(t *testing.T) {
	broken := errors.New("reset")
	body := io.NopCloser(io.MultiReader(strings.NewReader("hel"), failing{broken}))
	if _, err := httpbody.Read(&http.Response{Body: body, ContentLength: 5}, limit); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (r failing) Read([]byte) (int, error) { return 0, r.err }
