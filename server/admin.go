package server

import (
	"net"
	"net/http"
	"net/http/pprof"
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

// release ends the connections of a handler's callers while the service drains, each after its next answer, so that
// proxies that keep connections take others before the listeners close.
func (r *readiness) release(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !r.ready.Load() {
			w.Header().Set("Connection", "close")
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
	if host, _, err := net.SplitHostPort(address); err == nil && isLoopback(host) {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}
