package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestForeignHosts(t *testing.T) {
	for host, foreign := range map[string]bool{
		"localhost": false, "LOCALHOST:8080": false, "localhost.": false, "127.0.0.1:8080": false, "127.9.9.9": false,
		"[::1]:8080": false, "[::1]": false, "": false,
		"evil.example": true, "evil.example:8080": true, "localhost.evil.example": true, "192.0.2.1": true, "[2001:db8::1]:80": true,
		"127.0.0.1.evil.example": true, "0.0.0.0": true,
	} {
		if got := isForeignHost(host); got != foreign {
			t.Errorf("%q: got %v, want %v", host, got, foreign)
		}
	}
}

func TestARESTConnectionHasAMaximumAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := &readiness{}
		ready.set(true)
		handler := ready.closeConnections(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		ctx := withConnectionEnd(context.Background(), nil)
		for _, c := range []struct {
			wait time.Duration
			want string
		}{{time.Minute, ""}, {maxConnectionAge - time.Minute + time.Second, "close"}} {
			time.Sleep(c.wait)
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			if got := recorder.Header().Get("Connection"); got != c.want {
				t.Errorf("after another %v: Connection %q, want %q", c.wait, got, c.want)
			}
		}
	})
}
