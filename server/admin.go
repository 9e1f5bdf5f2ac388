package server

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/telemetry"
)

// longestProfile is how long /debug/pprof/profile may be asked to take.
const longestProfile = 2 * time.Minute

// readiness says whether the service takes calls: started, listening, not draining. It does not depend on
// Podero, whose outage must not take every replica out of rotation.
type readiness struct{ ready atomic.Bool }

func (r *readiness) set(ready bool) { r.ready.Store(ready) }

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if !r.ready.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// connectionEnd is the key of a context for the time at which a connection ends.
type connectionEnd struct{}

// withConnectionEnd gives a connection a maximum age, 10 % jitter subtracted. It is for http.Server.ConnContext.
func withConnectionEnd(ctx context.Context, _ net.Conn) context.Context {
	age := maxConnectionAge - rand.N(maxConnectionAge/10) //nolint:gosec // jitter is no secret
	return context.WithValue(ctx, connectionEnd{}, time.Now().Add(age))
}

// closeConnections ends connections of a handler's callers after a response: all of them while the service drains, so
// that keep-alive clients and proxies reconnect to another replica, and otherwise those that have reached their age.
func (r *readiness) closeConnections(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		end, ok := request.Context().Value(connectionEnd{}).(time.Time)
		if !r.ready.Load() || ok && time.Now().After(end) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, request)
	})
}

// isForeignHost reports whether a Host header is not that of this machine, whatever its port. HTTP/1.0 needs none.
func isForeignHost(host string) bool {
	if host == "" {
		return false
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return !isLoopback(strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), ".")))
}

// isLoopbackAddress reports whether a listener's address is reached from this machine alone.
func isLoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && isLoopback(host)
}

// refuseForeignHosts refuses requests with the Host header of another machine: a browser sends them to this one after
// DNS rebinding.
func refuseForeignHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if isForeignHost(request.Host) {
			http.Error(w, "the Host header names another machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, request)
	})
}

// adminHandler serves what operators and their machines ask for. address is the listener's.
func adminHandler(address string, ready *readiness, metrics *telemetry.Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("alive\n"))
	})
	mux.Handle("GET /readyz", ready)
	mux.Handle("GET /metrics", metrics.Handler())
	if isLoopbackAddress(address) {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		return refuseForeignHosts(mux)
	}
	return mux
}
